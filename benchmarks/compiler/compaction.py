"""What compact-cells is worth: the same number of cells, chosen and fitted in other ways, on real text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import read_corpus
from fmalloc.model.devices import select
from fmalloc.model.objective import nll
from fmalloc.model.text.batches import Example, encode
from fmalloc.store.store import Store
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_export.domain.transformer import one_thread, with_cells
from fmalloc_export.passes.bake_mask import BakeMask
from fmalloc_export.passes.calibration import TextCalibration
from fmalloc_export.passes.compact_cells import Rankings, allocate
from fmalloc_export.passes.drop_dead_cells import DropDeadCells
from fmalloc_export.passes.saliency import Ranking, refit
from fmalloc_shared.commands.progress import console
from fmalloc_shared.languages import LanguagePair

_KEEPS = (0.5, 0.25, 0.125)
_TEST_LINES = 400

# Of a layer and the ranking of its cells: which `count` to keep.
Choice = Callable[[FeedForward, Ranking, int], NDArray[np.int64]]


def eliminated(layer: FeedForward, ranking: Ranking, count: int) -> NDArray[np.int64]:
    """As compact-cells chooses."""
    del layer
    return ranking.kept(count)


def largest(layer: FeedForward, ranking: Ranking, count: int) -> NDArray[np.int64]:
    """Those that move the output most, each by itself: |v_i|^2 times the variance of its activation."""
    power = (layer.fc2_weight.astype(np.float64) ** 2).sum(axis=0) * np.diag(ranking.moments.covariance)
    return np.sort(np.argsort(-power, kind="stable")[:count])


def drawn(layer: FeedForward, ranking: Ranking, count: int) -> NDArray[np.int64]:
    """By chance."""
    del ranking
    draw = np.random.default_rng(len(layer.name) + layer.width)
    return np.sort(draw.choice(layer.width, count, replace=False))


# Choice of cells, with the refit or without, as many in every layer or allocated as compact-cells does.
HOW: dict[str, tuple[Choice, bool, bool]] = {
    "compact": (eliminated, True, False),
    "compact, every layer alike": (eliminated, True, True),
    "no refit": (eliminated, False, False),
    "largest, refit": (largest, True, False),
    "largest": (largest, False, False),
    "random, refit": (drawn, True, False),
    "random": (drawn, False, False),
    "random, every layer alike": (drawn, False, True),
}


def cut(
    model: DomainModel, rankings: Mapping[str, Ranking], counts: Mapping[str, int], choice: Choice, fit: bool
) -> DomainModel:
    """Keep `counts` cells of each layer."""
    layers = []
    for layer in model.feed_forward:
        ranking = rankings[layer.name]
        kept = choice(layer, ranking, counts[layer.name])
        smaller = layer.select(kept)
        if fit:
            values = layer.fc2_weight.T.astype(np.float64)
            fitted = refit(ranking.moments, values, layer.fc2_bias.astype(np.float64), kept)
            smaller = replace(
                smaller,
                fc2_weight=np.ascontiguousarray(fitted.values.T, dtype=np.float32),
                fc2_bias=fitted.bias.astype(np.float32),
            )
        layers.append(smaller)
    return replace(model, feed_forward=tuple(layers))


def study(store: Store, corpora: Path) -> dict[str, Any]:
    """By task: NLL on the test set, in nats per token, of every way and share of cells."""
    found: dict[str, Any] = {}
    with one_thread():
        for task in store.tasks():
            domain = Domain.load(store, task.name)
            corpus = read_corpus(corpora / task.name, LanguagePair("de", "en"))
            calibration = TextCalibration(domain.base, domain.tokenizer, corpus.train, domain.languages)
            baked, _ = BakeMask().apply(domain.model)
            whole, _ = DropDeadCells(calibration).apply(baked)
            longest = domain.maximum_length - 2
            pairs = corpus.test[:_TEST_LINES]
            examples = encode(domain.tokenizer, pairs, domain.languages, maximum_length=longest).examples

            cells, rankings = sum(whole.widths.values()), Rankings(calibration).of(whole)
            curves = {name: ranking.losses for name, ranking in rankings.items()}
            rows = []
            for keep in _KEEPS:
                allocated = allocate(curves, round(keep * cells))
                alike = {name: max(1, round(keep * width)) for name, width in whole.widths.items()}
                for how, (choice, fit, uniform) in HOW.items():
                    counts = alike if uniform else allocated
                    value = _nll(domain, cut(whole, rankings, counts, choice, fit), examples)
                    rows.append({"keep": keep, "how": how, "nll": value})
                    console.print(f"{task.name}, {keep:.1%} of the cells, {how}: {value:.3f} nats")
            found[task.name] = {"whole": {"cells": cells, "nll": _nll(domain, whole, examples)}, "cut": rows}
    return found


def _nll(domain: Domain, model: DomainModel, examples: Sequence[Example]) -> float:
    compiled = with_cells(domain.base, model)
    pad = compiled.config.pad_token_id
    return nll(compiled, examples, select("cpu"), batch_tokens=2000, pad=pad)
