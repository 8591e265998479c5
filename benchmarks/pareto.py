"""Pareto plots as SVG: quality against speed or size, a panel per domain; the dashed line joins what nothing beats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fmalloc.report.drawing.charts import axis
from fmalloc.report.drawing.palette import INK, MUTED
from fmalloc.report.drawing.rendering import place

COLOURS = {
    "PyTorch": "#8a9499",
    "CTranslate2": "#e69a1f",
    "fine-tuned": "#d36ba0",
    "Marian": "#0d6b3a",
    "random cells": "#85224f",
    "fmalloc": "#0067a5",
}
_PANEL, _COLUMN, _COLUMNS = 400, 260, 3


class _Frame(NamedTuple):
    left: int = 52
    right: int = 385
    top: int = 28
    bottom: int = 280


_FRAME = _Frame()


@dataclass(frozen=True)
class Point:
    """A model: what is better further right (speed) or left (size), and its quality."""

    name: str
    group: str
    x: float
    y: float


def front(points: Sequence[Point], *, more_is_better: bool) -> list[Point]:
    """The points that no other beats in both ways, by x."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.x if more_is_better else p.x, -p.y)):
        if not found or point.y > found[-1].y:
            found.append(point)
    return sorted(found, key=lambda p: p.x)


def pareto(
    title: str,
    domains: Mapping[str, Sequence[Point]],
    x_label: str,
    *,
    y_label: str = "BLEU",
    more_is_better: bool,
    colours: Mapping[str, str] = COLOURS,
) -> str:
    """The SVG; points are numbered alike in all panels. `colours`: by group."""
    names: dict[str, str] = {}
    for points in domains.values():
        names |= {point.name: point.group for point in points}
    numbers = {name: number for number, name in enumerate(names, 1)}
    panels = [
        _panel(place_, caption, points, numbers, more_is_better, colours)
        for place_, (caption, points) in enumerate(domains.items())
    ]
    width = max(_PANEL * len(panels), _COLUMN * _COLUMNS)
    columns = max(1, width // _COLUMN)
    return _TEMPLATES.get_template("pareto.svg.j2").render(
        title=title,
        width=width,
        height=_FRAME.bottom + 66 + 16 * -(-len(numbers) // columns),
        panels=panels,
        frame=_FRAME,
        x_label=x_label,
        y_label=y_label,
        legend=[(number, name, colours[names[name]]) for name, number in numbers.items()],
        columns=columns,
        column=_COLUMN,
        ink=INK,
        muted=MUTED,
    )


def _panel(
    index: int,
    caption: str,
    points: Sequence[Point],
    numbers: Mapping[str, int],
    more_is_better: bool,
    colours: Mapping[str, str],
) -> dict[str, Any]:
    across = axis([0.0, *(point.x for point in points)], _FRAME.left, _FRAME.right)
    up = axis([point.y for point in points], _FRAME.bottom, _FRAME.top)
    best = front(points, more_is_better=more_is_better)
    drawn = [
        (
            across(point.x),
            up(point.y),
            {
                "number": numbers[point.name],
                "colour": colours[point.group],
                "spoken": f"{point.name}: {point.x:,.1f}, BLEU {point.y:.1f}",
            },
        )
        for point in points
    ]
    return {
        "left": index * _PANEL,
        "caption": caption,
        "across": across,
        "up": up,
        "points": drawn,
        "front": [(across(point.x), up(point.y)) for point in best],
    }


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["place"] = place
