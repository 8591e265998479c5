"""Divergence: a loss or gradient that is not finite, or a loss that keeps growing."""

import math
from typing import NamedTuple

from fmalloc_shared.errors import FmallocError

_DECAY = 0.98
_MARGIN = 1.0


class DivergedError(FmallocError):
    """Training that has to be begun again with other settings."""


class Trend(NamedTuple):
    """The first loss and the running mean of the latest ones (about 50), in nats per token."""

    first: float
    recent: float

    @classmethod
    def after(cls, trend: "Trend | None", loss: float) -> "Trend":
        """The trend with one more loss."""
        return cls(loss, loss) if trend is None else cls(trend.first, _DECAY * trend.recent + (1 - _DECAY) * loss)


def problem_of(loss: float, gradient_norm: float, trend: Trend, chance: float) -> str | None:
    """What went wrong in an update, None if nothing did.

    `chance` is the loss of a model that knows nothing, ln of the vocabulary's size. A mean loss that is a nat above it
    and above the first loss does not recover.
    """
    limit = max(chance, trend.first) + _MARGIN
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(gradient_norm):
        return f"the gradient's norm is {gradient_norm} (loss {loss:.2f})"
    if trend.recent > limit:
        return f"training diverges: the mean loss of late is {trend.recent:.2f}, above {limit:.2f}"
    return None
