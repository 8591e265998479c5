"""Where a new version of a domain should begin: `python -m benchmarks.lifecycle.relearn --store DIR --corpora DIR`.

A copy of the store grows and learns a domain anew, from half text as before and half text that its version never saw:
once as any domain begins, once as a copy of the version. Adds `relearn` to results/lifecycle.json; a run that was
stopped goes on.
"""

import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.common import Goal, add_entry, once, versions
from fmalloc.corpus import EVERYTHING, Pair, read_corpus
from fmalloc.evaluation.evaluate import nll_of
from fmalloc.lifecycle.relearn import relearn
from fmalloc.model.assembly import load_sliced
from fmalloc.store.store import Store, writing
from fmalloc_shared.commands.command import Command
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL

_WORK = Path(".work/relearn")
_CELLS = 256
_LANGUAGES = LanguagePair("de", "en")
_STARTS = {"cold": False, "warm": True}


@click.command(cls=Command)
@click.option("--store", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--domain", default="law", show_default=True, help="Of the store, and its folder of the corpora.")
@click.option("--updates", default=40, show_default=True, help="Of the parameters, an even number.")
@click.option("--batch-tokens", default=512, show_default=True, help="Padded tokens per batch.")
@click.option("--work", default=_WORK, type=click.Path(path_type=Path), show_default=True)
@click.option("--name", default="lifecycle", show_default=True, help="Of the file in results/ that is added to.")
def main(store: Path, corpora: Path, domain: str, updates: int, batch_tokens: int, work: Path, name: str) -> None:
    """Learn a domain anew from both starts."""
    torch.set_num_threads(1)
    test = _write_text(corpora / domain, work / "text")
    settings = {"updates": updates, "batch_tokens": batch_tokens}
    found: dict[str, Any] = {}
    for start, warm in _STARTS.items():
        own = work / start
        _copy(store, own)
        found[start] = once(work / f"{start}.json", partial(_learn, own, domain, work / "text", settings, warm=warm))
        found[start]["test_nll"] = once(work / f"{start}-test.json", partial(_nll, own, f"{domain}@2", test))
    before = {task: once(work / f"{task}-test.json", partial(_nll, store, task, test)) for task in (GENERAL, domain)}
    payload = {
        "domain": domain,
        "cells": _CELLS,
        **settings,
        "test_nll_before": {"general": before[GENERAL], "version": before[domain]},
        **found,
        "versions": versions("torch", "transformers"),
    }
    goal = _goal(found)
    click.echo(json.dumps({**payload, "goals": [goal]}, indent=1))
    add_entry(name, "relearn", payload, [goal])


def _write_text(folder: Path, output: Path) -> list[Pair]:
    """600 pairs that the version learned and 600 that it never saw, by turns; dev, and test, which is returned."""
    corpus = read_corpus(folder, _LANGUAGES, EVERYTHING)
    unseen, seen = list(corpus.dev[200:]), list(corpus.train[:600])
    train = [pair for both in zip(seen, unseen[:600], strict=True) for pair in both]
    test = list(corpus.test[:100])
    output.mkdir(parents=True, exist_ok=True)
    for part, pairs in (("train", train), ("dev", unseen[600:660]), ("test", test)):
        lines = (f"{pair.source}\t{pair.target}\n" for pair in pairs)
        (output / f"{part}.tsv").write_text("".join(lines), encoding="utf-8")
    return test


def _copy(store: Path, own: Path) -> None:
    if (own.parent / f"{own.name}-ready").exists():
        return
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(store, own)
    (own / ".lock").unlink(missing_ok=True)
    with writing(own):
        Store.open(own).grow(_CELLS, seed=1)
    (own.parent / f"{own.name}-ready").touch()


def _learn(own: Path, domain: str, text: Path, settings: dict[str, Any], *, warm: bool) -> dict[str, Any]:
    half = settings["updates"] // 2
    few = {"anneal_updates": half, "validate_every": half, "warmup_updates": max(1, half // 4), "validation_pairs": 60}
    overrides = {f"learning.{key}": value for key, value in {**settings, **few}.items()}
    began = time.monotonic()
    record = relearn(own, domain, text, overrides={"device": "cpu", "evaluation.sentences": 20, **overrides}, warm=warm)
    return {
        "seconds": round(time.monotonic() - began),
        "dev_nll": {str(point.update): round(point.nll, 4) for point in record.curve},
        "kept_update": record.selected.update if record.selected else None,
        "cells": sum(Store.open(own).cells().count(record.order).values()),
    }


def _nll(path: Path, task: str, test: list[Pair]) -> float:
    """Nats per target token."""
    store = Store.open(path)
    model, tokenizer = load_sliced(store, task)
    found = nll_of(model, tokenizer, test, store.description.languages)
    assert found is not None  # no pair is too long
    return round(found, 4)


def _goal(found: dict[str, Any]) -> Goal:
    value = round(found["warm"]["test_nll"] - found["cold"]["test_nll"], 4)
    return {"name": "test NLL of a copy less that of a cold start", "value": value, "goal": "< 0", "met": value < 0}


if __name__ == "__main__":
    main()
