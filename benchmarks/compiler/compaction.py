"""What compact-cells is worth: the same number of cells, chosen and fitted in other ways, on real text.

Every domain is kept below `--work`, so that a killed run goes on where it stopped. Writes results/compaction.json.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Goal, once, versions, write_results
from fmalloc.corpus import read_corpus
from fmalloc.model.devices import select
from fmalloc.model.objective import nll
from fmalloc.model.text.batches import Example, encode
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_export.domain.transformer import one_thread, with_cells
from fmalloc_export.passes.bake_mask import BakeMask
from fmalloc_export.passes.calibration import TextCalibration
from fmalloc_export.passes.compact_cells import Rankings, allocate
from fmalloc_export.passes.drop_dead_cells import DropDeadCells
from fmalloc_export.passes.saliency import Ranking, refit
from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.progress import console
from fmalloc_shared.names import GENERAL

_KEEPS = (0.5, 0.25, 0.125)
_JUDGED = 0.25
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


def study(store: Store, corpora: Path, task: str) -> dict[str, Any]:
    """NLL on the task's test set, in nats per token: `whole`, and of every way and share of cells in `cut`."""
    domain = Domain.load(store, task)
    corpus = read_corpus(corpora / domain_of(task), domain.languages)
    calibration = TextCalibration(domain.base, domain.tokenizer, corpus.train, domain.languages)
    longest, pairs = domain.maximum_length - 2, corpus.test[:_TEST_LINES]
    examples = encode(domain.tokenizer, pairs, domain.languages, maximum_length=longest).examples
    with one_thread():
        baked, _ = BakeMask().apply(domain.model)
        whole, _ = DropDeadCells(calibration).apply(baked)
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
                console.print(f"{task}, {keep:.1%} of the cells, {how}: {value:.3f} nats")
        return {"whole": {"cells": cells, "nll": _nll(domain, whole, examples)}, "cut": rows}


def _nll(domain: Domain, model: DomainModel, examples: Sequence[Example]) -> float:
    compiled = with_cells(domain.base, model)
    pad = compiled.config.pad_token_id
    return nll(compiled, examples, select("cpu"), batch_tokens=2000, pad=pad)


def _lost(rows: Mapping[str, Any], keep: float) -> dict[str, float]:
    """The NLL that each way loses at a share of the cells."""
    return {row["how"]: row["nll"] - rows["whole"]["nll"] for row in rows["cut"] if row["keep"] == keep}


def goals(domains: Mapping[str, Any]) -> list[Goal]:
    """What the choice and the refit are meant to be worth, each."""
    found: list[Goal] = []
    for name, rows in domains.items():
        lost = _lost(rows, _JUDGED)
        for how, value, least in (
            ("without the refit, in units of with it", lost["no refit"] / lost["compact"], 2),
            ("by chance, in units of our choice without refit", lost["random"] / lost["no refit"], 1),
        ):
            title = f"{name}, {_JUDGED:.0%} of the cells: NLL lost {how}"
            found.append({"name": title, "value": round(value, 2), "goal": f">= {least}", "met": value >= least})
        for keep in _KEEPS:
            lost = _lost(rows, keep)
            value = lost["compact, every layer alike"] / lost["compact"]
            title = f"{name}, {keep:.1%} of the cells: NLL lost with every layer alike, in units of ours"
            found.append({"name": title, "value": round(value, 2), "goal": "> 1", "met": value > 1})
    return found


FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(cls=Command)
@click.option("--store", "path", type=FOLDER, required=True, help="A memory store that learned domains.")
@click.option("--corpora", type=FOLDER, required=True, help="A folder per domain, with train, dev and test.")
@click.option("--domain", "domains", multiple=True, help="Of the store; repeat it.  [default: all]")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/compaction"), show_default=True)
def main(path: Path, corpora: Path, domains: tuple[str, ...], work: Path) -> None:
    """Keep as many cells, chosen and fitted in other ways, and see what each loses."""
    store = Store.open(path)
    tasks = [task for task in store.chosen(domains) if task != GENERAL]
    found = {
        domain_of(task): once(work / f"{task}-{store.digest(task)[:12]}.json", partial(study, store, corpora, task))
        for task in tasks
    }
    payload = {"domains": found, "test_lines": _TEST_LINES, "versions": versions("torch", "transformers", "numpy")}
    console.print(f"wrote {write_results('compaction', payload, goals(found))}")


if __name__ == "__main__":
    main()
