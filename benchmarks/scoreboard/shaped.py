"""The shape of OPUS-MT's models with random weights: what speed and size depend on, where no real model is at hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.compiler.shapes import DOMAIN, OPUS_MT, all_text, store_of
from benchmarks.scoreboard.contenders.compiled import of_random_cells
from benchmarks.scoreboard.contenders.contender import Field
from benchmarks.scoreboard.contenders.gathering import Choice, gather
from benchmarks.scoreboard.limits import Machine
from benchmarks.scoreboard.translation import Amount, Test, measure_domain
from fmalloc.corpus import read_corpus
from fmalloc.model.base import CONFIG, configuration
from fmalloc_export.domain.domain import Domain

# Random weights never end a translation: all of them are this long.
TOKENS = 20


def measure_shape(corpora: Path, keep: float, amount: Amount, work: Path) -> dict[str, Any]:
    """Speed and size of everything but what was learned; `keep`: share of the domain's cells at -O2."""
    store = store_of(OPUS_MT, work / "store", all_text(corpora))
    made = gather(store, DOMAIN, corpora, work / "contenders", Choice(keep), Machine.measured(1).products)
    like = next(row for row in made.contenders if row.level == "O2")
    none = of_random_cells(Domain.load(store, DOMAIN), like, work / "contenders" / DOMAIN / "no-cells", share=0)
    none = replace(none, contestant=replace(none.contestant, name="no cells, CTranslate2 int8"))
    rows = [
        replace(row, untrained=True, contestant=replace(row.contestant, longest=TOKENS))
        for row in (*made.contenders, none)
    ]
    pairs = read_corpus(corpora / DOMAIN, store.description.languages).test
    middling = sorted(pairs, key=lambda pair: len(pair.source))[len(pairs) // 4 : -len(pairs) // 4]
    # Every so many, so that few sentences are of all lengths, too.
    chosen = middling[:: max(1, len(middling) // amount.sentences)]
    test = Test([pair.source for pair in chosen], [pair.target for pair in chosen])
    used = next(row for row in rows if row.level == "O0").shape
    return measure_domain(Field(tuple(rows), made.left_out), test, amount, work / "measured") | {
        "shape": {"name": OPUS_MT.name, "d_model": OPUS_MT.d_model, "cells": OPUS_MT.ffn, "layers": OPUS_MT.layers},
        "cells_used": sum((*used.encoder, *used.decoder)) / (2 * OPUS_MT.layers * OPUS_MT.ffn),
        "vocabulary": configuration(store.base / CONFIG)["vocab_size"],
        "tokens": TOKENS,
    }
