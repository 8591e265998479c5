"""What a pass is, and what a pass may ask about the domain's own text."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fmalloc_export.domain.model import DomainModel


class Pass(Protocol):
    """A named step of the compiler."""

    @property
    def name(self) -> str:
        """As it stands in the manifest."""

    @property
    def exact(self) -> bool:
        """Whether it changes no translation of any text."""

    def explain(self, model: DomainModel) -> str:
        """What it would do to `model`, or why it does not apply; costs nothing."""

    def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
        """Return the new model and one sentence on what was done; `model` itself stays as it was."""


class Calibration(Protocol):
    """Text of the domain, run through the model: what its cells do there.

    A *position* is a token of the text, padding left out: source tokens for encoder layers, target tokens for decoder
    layers, as in training.
    """

    def fired(self, model: DomainModel) -> Mapping[str, NDArray[np.bool_]]:
        """By layer, bool (width,): is the cell's f(k.x + b) other than 0 at any position?"""

    def activations(self, model: DomainModel, layer: str) -> NDArray[np.float32]:
        """f(k.x + b) of the layer's cells, float32 (positions, width), with the inputs that `model` gives it."""

    def positions(self) -> tuple[int, int]:
        """Number of source and of target positions."""
