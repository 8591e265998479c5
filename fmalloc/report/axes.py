"""Scales of charts: from values to places, with round ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """A linear scale from `low`…`high` in values to `start`…`end` in the picture, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def labels(self) -> tuple[str, ...]:
        """The ticks as text, with as many decimals as their step needs."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else self.ticks[0]
        decimals = next((d for d in range(6) if math.isclose(step, round(step, d), rel_tol=1e-6)), 6)
        return tuple(f"{tick:,.{decimals}f}" for tick in self.ticks)


def axis(values: Iterable[float], start: float, end: float, *, tight: bool = False, ticks: int = 4) -> Axis:
    """A scale that holds all values, from tick to tick or, if `tight`, from the least to the greatest value.

    Ticks are multiples of 1, 2, 2.5 or 5 times a power of ten, about `ticks` of them. Values that are all equal get
    room around them.
    """
    known = list(values) or [0.0]
    low, high = min(known), max(known)
    if tight and low == high:
        return Axis(low - 1, high + 1, start, end, (low,))
    if high - low < 1e-9 * max(1.0, abs(high)):
        room = max(0.05 * abs(high), 0.5)
        high += room
        low = max(0.0, low - room) if low >= 0 else low - room
    step = _step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = tuple(index * step for index in range(first, last + 1))
    if tight:
        inside = tuple(mark for mark in marks if low <= mark <= high)
        return Axis(low, high, start, end, inside if len(inside) > 1 else (low, high))
    return Axis(marks[0], marks[-1], start, end, marks)


def _step(rough: float) -> float:
    """The least round step that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))
