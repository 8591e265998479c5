"""What compact-cells is worth: the same number of cells, chosen and fitted in other ways, on real text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import read_corpus
from fmalloc.model.batches import Example, encode
from fmalloc.model.devices import select
from fmalloc.model.objective import nll
from fmalloc.progress import console
from fmalloc.store.store import Store
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_export.domain.transformer import one_thread, with_cells
from fmalloc_export.passes.bake_mask import BakeMask
from fmalloc_export.passes.calibration import TextCalibration
from fmalloc_export.passes.compact_cells import LossCurves, allocate
from fmalloc_export.passes.drop_dead_cells import DropDeadCells
from fmalloc_export.passes.saliency import Moments, eliminate, refit
from fmalloc_shared.languages import LanguagePair

_KEEPS = (0.5, 0.25, 0.125)
_TEST_LINES = 400

# Of a layer and its activations' moments: which `count` cells to keep.
Choice = Callable[[FeedForward, Moments, int], NDArray[np.int64]]


def eliminated(layer: FeedForward, moments: Moments, count: int) -> NDArray[np.int64]:
    """As compact-cells chooses."""
    return eliminate(moments, layer.fc2_weight.T.astype(np.float64), count).kept


def largest(layer: FeedForward, moments: Moments, count: int) -> NDArray[np.int64]:
    """Those that move the output most, each by itself: |v_i|^2 times the variance of its activation."""
    power = (layer.fc2_weight.astype(np.float64) ** 2).sum(axis=0) * np.diag(moments.covariance)
    return np.sort(np.argsort(-power, kind="stable")[:count])


def drawn(layer: FeedForward, moments: Moments, count: int) -> NDArray[np.int64]:
    """By chance."""
    del moments
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
    model: DomainModel, calibration: TextCalibration, counts: Mapping[str, int], choice: Choice, fit: bool
) -> DomainModel:
    """Keep `counts` cells of each layer, layer by layer."""
    for index, layer in enumerate(model.feed_forward):
        moments = Moments.of(calibration.activations(model, layer.name))
        kept = choice(layer, moments, counts[layer.name])
        smaller = layer.select(kept)
        if fit:
            values = layer.fc2_weight.T.astype(np.float64)
            fitted = refit(moments, values, layer.fc2_bias.astype(np.float64), kept)
            smaller = replace(
                smaller,
                fc2_weight=np.ascontiguousarray(fitted.values.T, dtype=np.float32),
                fc2_bias=fitted.bias.astype(np.float32),
            )
        layers = (*model.feed_forward[:index], smaller, *model.feed_forward[index + 1 :])
        model = replace(model, feed_forward=layers)
    return model


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

            cells, curves = sum(whole.widths.values()), LossCurves(calibration).of(whole)
            rows = []
            for keep in _KEEPS:
                allocated = allocate(curves, round(keep * cells))
                alike = {name: max(1, round(keep * width)) for name, width in whole.widths.items()}
                for how, (choice, fit, uniform) in HOW.items():
                    counts = alike if uniform else allocated
                    value = _nll(domain, cut(whole, calibration, counts, choice, fit), examples)
                    rows.append({"keep": keep, "how": how, "nll": value})
                    console.print(f"{task.name}, {keep:.1%} of the cells, {how}: {value:.3f} nats")
            found[task.name] = {"whole": {"cells": cells, "nll": _nll(domain, whole, examples)}, "cut": rows}
    return found


def _nll(domain: Domain, model: DomainModel, examples: Sequence[Example]) -> float:
    compiled = with_cells(domain.base, model)
    pad = compiled.config.pad_token_id
    return nll(compiled, examples, select("cpu"), batch_tokens=2000, pad=pad)
