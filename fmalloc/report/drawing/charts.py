"""Small charts as SVG: lines over updates, and bars of a distribution. Text stays text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from fmalloc.report.drawing.palette import INK
from fmalloc.report.drawing.rendering import place, render

_MOST_MARKERS = 12
_STEPS = (1, 2, 2.5, 5, 10)


class _Frame(NamedTuple):
    """The size of a picture, and the sides of the area that is drawn into."""

    width: int = 270
    height: int = 185
    left: int = 44
    right: int = 250
    top: int = 8
    bottom: int = 148


_FRAME = _Frame()


@dataclass(frozen=True)
class Line:
    """One line of a chart: its points are joined in their order; what is not finite is left out."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str = INK
    dash: str = ""
    width: float = 2.0

    def known(self) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        return [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y)]

    def stroke(self) -> dict[str, str | None]:
        """Its look as SVG attributes."""
        return {"stroke": self.colour, "stroke-width": place(self.width), "stroke-dasharray": self.dash or None}

    def spoken(self) -> str:
        """Where it begins and ends, in words."""
        (first, start), (last, end) = self.known()[0], self.known()[-1]
        if first == last:
            return f"{self.label} {start:,.2f} at {first:,.0f}"
        return f"{self.label} from {start:,.2f} at {first:,.0f} to {end:,.2f} at {last:,.0f}"


def line_chart(caption: str, lines: Sequence[Line], *, x_label: str, mark: tuple[float, str] | None = None) -> Markup:
    """Lines over a common scale; `mark` is a place on the x axis and what it means."""
    drawn = [line for line in lines if line.known()]
    points = [point for line in drawn for point in line.known()]
    across = axis([x for x, _ in points], _FRAME.left, _FRAME.right, tight=True)
    up = axis([y for _, y in points], _FRAME.bottom, _FRAME.top)
    said = [*(line.spoken() for line in drawn), *([f"{mark[1]} at {mark[0]:,.0f}"] if mark else [])]
    return render(
        "line_chart",
        caption=caption,
        frame=_FRAME,
        lines=[(line, [(across(x), up(y)) for x, y in line.known()]) for line in drawn],
        across=across,
        up=up,
        x_label=x_label,
        mark=mark,
        most_markers=_MOST_MARKERS,
        spoken=f"{caption}: {'; '.join(said)}",
    )


def bar_chart(
    caption: str, bars: Sequence[Sequence[tuple[float, str]]], labels: Sequence[tuple[float, str]], spoken: str
) -> Markup:
    """Stacked bars side by side, each a sequence of heights and fills; `labels` stand below, 1 being a bar's width."""
    up = axis([0.0, *(sum(height for height, _ in bar) for bar in bars)], _FRAME.bottom, _FRAME.top, ticks=3)
    across = Axis(0, len(bars), _FRAME.left, _FRAME.right, (0, len(bars)))
    boxes = []
    for index, bar in enumerate(bars):
        base = 0.0
        for height, fill in bar:
            if height:
                left, right, top = across(index + 0.06), across(index + 0.94), up(base + height)
                box = {"x": left, "y": top, "width": right - left, "height": up(base) - top}
                boxes.append({**box, "fill": fill})
            base += height
    below = [(across(x), text) for x, text in labels]
    return render("bar_chart", caption=caption, frame=_FRAME, up=up, boxes=boxes, labels=below, spoken=spoken)


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
        decimals = next((d for d in range(12) if math.isclose(step, round(step, d), rel_tol=1e-6)), 12)
        return tuple(f"{tick:,.{decimals}f}" for tick in self.ticks)

    def marks(self) -> list[tuple[float, str]]:
        """Place and label of each tick."""
        return [(self(tick), label) for tick, label in zip(self.ticks, self.labels(), strict=True)]


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
