"""A stack of feed-forward layers in numpy, as calibration: what passes are tested with, without torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_export.passes.saliency import Moments, MomentSums

Activation = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def relu(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(values, 0)


def swish(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values / (1 + np.exp(-values)))


def moments_of(activations: NDArray[np.float32]) -> Moments:
    sums = MomentSums(activations.shape[1])
    for part in np.array_split(activations, 3):
        sums.add(part)
    return sums.moments()


@dataclass(frozen=True)
class Stack:
    """Residual layers, one after another; `inputs` float64 (positions, d) enter the first."""

    inputs: NDArray[np.float64]
    activation: Activation = relu

    def active(self, layer: FeedForward, hidden: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.activation(hidden @ layer.fc1_weight.T + layer.fc1_bias) * layer.mask

    def outputs(self, model: DomainModel) -> NDArray[np.float64]:
        """What the last layer gives."""
        hidden = self.inputs
        for layer in model.feed_forward:
            hidden = hidden + self.active(layer, hidden) @ layer.fc2_weight.T + layer.fc2_bias
        return hidden

    def fired(self, model: DomainModel) -> Mapping[str, NDArray[np.bool_]]:
        return {name: (self.activations(model, name) != 0).any(axis=0) for name in model.widths}

    def moments(self, model: DomainModel) -> Mapping[str, Moments]:
        return {name: moments_of(self.activations(model, name)) for name in model.widths}

    def activations(self, model: DomainModel, layer: str) -> NDArray[np.float32]:
        hidden = self.inputs
        for block in model.feed_forward:
            active = self.active(block, hidden)
            if block.name == layer:
                return active.astype(np.float32)
            hidden = hidden + active @ block.fc2_weight.T + block.fc2_bias
        raise AssertionError(layer)

    def positions(self) -> tuple[int, int]:
        return len(self.inputs), len(self.inputs) + 7


def stack_of(*widths: int, size: int = 6, activation: str = "relu", seed: int = 0) -> DomainModel:
    """Random layers with every cell on."""
    draw = np.random.default_rng(seed)
    layers = tuple(
        FeedForward(
            name=f"encoder.{index}",
            cells=np.arange(width, dtype=np.int64),
            mask=np.ones(width, dtype=np.bool_),
            fc1_weight=draw.normal(size=(width, size)).astype(np.float32),
            fc1_bias=draw.normal(size=width).astype(np.float32),
            fc2_weight=draw.normal(size=(size, width)).astype(np.float32) / 4,
            fc2_bias=draw.normal(size=size).astype(np.float32),
        )
        for index, width in enumerate(widths)
    )
    return DomainModel("it", "marian", activation, layers, np.arange(20))
