"""One domain's feed-forward cells as numpy arrays: what passes change and emitters write."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fmalloc_shared.errors import FmallocError

PADDING = -1


@dataclass(frozen=True)
class FeedForward:
    """The k cells of one layer: FFN(x) = fc2_bias + sum_i mask_i f(fc1_weight_i x + fc1_bias_i) fc2_weight_:i.

    `cells` int64 (k,): ids in the base model's layer, ascending; padding cells carry -1 and come last.
    `mask` bool (k,): False marks a cell that the domain switches off.
    All else float32: `fc1_weight` (k, d), `fc1_bias` (k,), `fc2_weight` (d, k), `fc2_bias` (d,).
    """

    name: str
    cells: NDArray[np.int64]
    mask: NDArray[np.bool_]
    fc1_weight: NDArray[np.float32]
    fc1_bias: NDArray[np.float32]
    fc2_weight: NDArray[np.float32]
    fc2_bias: NDArray[np.float32]

    @property
    def width(self) -> int:
        """Number of cells, switched-off and padding cells included."""
        return len(self.cells)

    def select(self, indices: NDArray[np.int64]) -> "FeedForward":
        """Some of the cells, by position in this layer, ascending."""
        return replace(
            self,
            cells=self.cells[indices],
            mask=self.mask[indices],
            fc1_weight=self.fc1_weight[indices],
            fc1_bias=self.fc1_bias[indices],
            fc2_weight=np.ascontiguousarray(self.fc2_weight[:, indices]),
        )

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with this layer."""
        width, size = len(self.cells), len(self.fc2_bias)
        expected: dict[str, tuple[type, tuple[int, ...]]] = {
            "cells": (np.int64, (width,)),
            "mask": (np.bool_, (width,)),
            "fc1_weight": (np.float32, (width, size)),
            "fc1_bias": (np.float32, (width,)),
            "fc2_weight": (np.float32, (size, width)),
            "fc2_bias": (np.float32, (size,)),
        }
        malformed = False
        for field, (dtype, shape) in expected.items():
            array = getattr(self, field)
            if array.dtype != dtype or array.shape != shape:
                malformed = True
                found = f"{array.dtype}{array.shape}"
                yield f"{self.name}: {field} is {found}, expected {np.dtype(dtype).name}{shape}"
            elif array.dtype == np.float32 and not np.isfinite(array).all():
                yield f"{self.name}: {field} holds NaN or infinite values"
        if not malformed:
            yield from self._cell_problems()

    def _cell_problems(self) -> Iterator[str]:
        own = self.cells[self.cells != PADDING]
        padding = slice(len(own), None)
        if (self.cells[padding] != PADDING).any():
            yield f"{self.name}: padding cells come before other cells, expected them last"
        elif self.fc1_weight[padding].any() or self.fc1_bias[padding].any() or self.fc2_weight[:, padding].any():
            yield f"{self.name}: padding cells are not zero"
        if (own < 0).any():
            yield f"{self.name}: cell {own.min()}, expected ids of 0 and above, or {PADDING} for padding"
        if (np.diff(own) <= 0).any():
            yield f"{self.name}: cell ids are not strictly ascending"


@dataclass(frozen=True)
class DomainModel:
    """A domain between store and engine; a pass returns a new one and never changes its input.

    `activation`: the function f of every layer, by transformers' name. `target_tokens` int64 (t,): the tokens that
    the domain can write, as ascending ids of the base's target vocabulary.
    """

    domain: str
    family: str
    activation: str
    feed_forward: tuple[FeedForward, ...]
    target_tokens: NDArray[np.int64]

    @property
    def cut(self) -> tuple[bytes, ...]:
        """By layer, which cells are left; equal for models that were cut alike from one domain."""
        return tuple(layer.cells.tobytes() for layer in self.feed_forward)

    @property
    def widths(self) -> dict[str, int]:
        """Cells by layer name."""
        return {layer.name: layer.width for layer in self.feed_forward}

    def verify(self) -> None:
        """Raise FmallocError, with all problems at once, unless every layer is well-formed."""
        problems = [problem for layer in self.feed_forward for problem in layer.problems()]
        if not self.feed_forward:
            problems.append("no feed-forward layers")
        if len(self.widths) != len(self.feed_forward):
            problems.append(f"layer names repeat: {', '.join(layer.name for layer in self.feed_forward)}")
        if self.target_tokens.dtype != np.int64 or self.target_tokens.ndim != 1 or not len(self.target_tokens):
            problems.append("target_tokens: expected a list of int64 ids with at least one")
        elif self.target_tokens[0] < 0 or (np.diff(self.target_tokens) <= 0).any():
            problems.append("target_tokens are not strictly ascending ids of 0 and above")
        if len({layer.fc2_bias.shape for layer in self.feed_forward}) > 1:
            problems.append("layers differ in model size (d)")
        if problems:
            raise FmallocError("\n".join(f"domain {self.domain!r}: {problem}" for problem in problems))

    def check_emittable(self) -> None:
        """Raise FmallocError unless bake-mask and pad-width have prepared the model for the engines."""
        for layer in self.feed_forward:
            if not layer.mask.all():
                off = int((~layer.mask).sum())
                raise FmallocError(f"{layer.name}: {off} cells are off, but not cut: run bake-mask")
            if layer.width == 0:
                raise FmallocError(f"{layer.name}: no cell is left, and engines crash on width 0: run pad-width")
