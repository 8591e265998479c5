"""Protocols: a pass, and the calibration that passes use."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fmalloc_export.domain.model import DomainModel
from fmalloc_export.passes.saliency import Moments


class Pass(Protocol):
    """A named step of the compiler, from one DomainModel to the next."""

    @property
    def name(self) -> str:
        """The name in the manifest."""

    @property
    def exact(self) -> bool:
        """Whether every translation of every text stays the same."""

    def explain(self, model: DomainModel) -> str:
        """What the pass would do to `model`, or why it does not apply; cheap."""

    def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
        """Return the new model and a sentence on what was done; `model` itself is not changed."""


class Calibration(Protocol):
    """Activations of the cells on the domain's text.

    A *position* is a token of the text, without padding: of the source for encoder layers, of the target for decoder
    layers, as in training.
    """

    def fired(self, model: DomainModel) -> Mapping[str, NDArray[np.bool_]]:
        """By layer, bool (width,): whether the cell's f(k.x + b) is other than 0 at any position."""

    def moments(self, model: DomainModel) -> Mapping[str, Moments]:
        """By layer, mean and covariance of f(k.x + b) over the positions, with the inputs that `model` gives it."""

    def positions(self) -> tuple[int, int]:
        """Number of source and of target positions."""
