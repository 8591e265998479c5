"""Small charts as SVG: lines over updates, and bars of a distribution. Text stays text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fmalloc.report.axes import Axis, axis
from fmalloc.report.markup import Html, element, figure
from fmalloc.report.palette import INK, MUTED

_WIDTH, _HEIGHT = 270, 185
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 250, 8, 148
_MARKERS = 12


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


def line_chart(caption: str, lines: Sequence[Line], *, x_label: str, mark: tuple[float, str] | None = None) -> Html:
    """Lines over a common scale; `mark` is a place on the x axis and what it means."""
    drawn = [line for line in lines if line.known()]
    if not drawn:
        return figure(caption, element("p", "Not measured.", class_="nothing"), class_="chart")
    xs = [x for line in drawn for x, _ in line.known()]
    across = axis(xs, _LEFT, _RIGHT, tight=True)
    up = axis([y for line in drawn for _, y in line.known()], _BOTTOM, _TOP)
    parts = [_grid(across, up, x_label)]
    if mark:
        place = across(mark[0])
        parts.append(element("path", d=f"M{place:.1f} {_TOP}V{_BOTTOM}", stroke=MUTED, stroke_dasharray="2 3"))
    parts += [_line(line, across, up) for line in drawn]
    spoken = f"{caption}: {'; '.join(_spoken(line) for line in drawn)}"
    if mark:
        spoken += f"; {mark[1]} at {mark[0]:,.0f}"
    legend = _legend(drawn) if len(drawn) > 1 else None
    return figure(caption, _svg(spoken, *parts), legend, class_="chart")


def bar_chart(
    caption: str, bars: Sequence[Sequence[tuple[float, str]]], labels: Sequence[tuple[float, str]], spoken: str
) -> Html:
    """Stacked bars side by side, each a sequence of heights and fills; `labels` stand below, 1 being a bar's width."""
    up = axis([0.0, *(sum(height for height, _ in bar) for bar in bars)], _BOTTOM, _TOP, ticks=3)
    across = Axis(0, len(bars), _LEFT, _RIGHT, (0, len(bars)))
    parts = [_rules(up)]
    for index, bar in enumerate(bars):
        base = 0.0
        for height, fill in bar:
            if height:
                top, bottom = up(base + height), up(base)
                left, width = across(index + 0.06), across(index + 0.94) - across(index + 0.06)
                box = {"x": left, "y": top, "width": width, "height": bottom - top}
                parts.append(element("rect", **box, fill=fill, stroke=MUTED, stroke_width=0.6))
            base += height
    parts += [_text(across(place), _BOTTOM + 15, text, "middle") for place, text in labels]
    return figure(caption, _svg(spoken, *parts), class_="chart")


def _svg(spoken: str, *parts: Html) -> Html:
    title = element("title", spoken)
    return element("svg", title, *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", font_size=11, fill="none")


def _text(x: float, y: float, text: str, anchor: str) -> Html:
    return element("text", text, x=x, y=y, text_anchor=anchor, fill=MUTED)


def _rules(up: Axis) -> Html:
    """Horizontal lines with their values."""
    rules = "".join(f"M{_LEFT} {up(tick):.1f}H{_RIGHT}" for tick in up.ticks)
    labels = (_text(_LEFT - 6, up(tick) + 4, text, "end") for tick, text in zip(up.ticks, up.labels(), strict=True))
    return element("g", element("path", d=rules, stroke="#dbe2e4"), *labels)


def _grid(across: Axis, up: Axis, x_label: str) -> Html:
    ticks = zip(across.ticks, across.labels(), strict=True)
    labels = (_text(across(tick), _BOTTOM + 15, text, "middle") for tick, text in ticks)
    return element("g", _rules(up), *labels, _text((_LEFT + _RIGHT) / 2, _HEIGHT - 6, x_label, "middle"))


def _line(line: Line, across: Axis, up: Axis) -> Html:
    places = [(across(x), up(y)) for x, y in line.known()]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dash = line.dash or None
    stroke = element("path", d=path, stroke=line.colour, stroke_width=line.width, stroke_dasharray=dash)
    dots = places if len(places) <= _MARKERS else []
    markers = (element("circle", cx=x, cy=y, r=line.width + 0.5, fill=line.colour) for x, y in dots)
    return element("g", stroke, *markers, stroke_linejoin="round")


def _spoken(line: Line) -> str:
    (first, start), (last, end) = line.known()[0], line.known()[-1]
    if first == last:
        return f"{line.label} {start:,.2f} at {first:,.0f}"
    return f"{line.label} from {start:,.2f} at {first:,.0f} to {end:,.2f} at {last:,.0f}"


def _legend(lines: Sequence[Line]) -> Html:
    keys = []
    for line in lines:
        stroke = element(
            "path", d="M0 6H22", stroke=line.colour, stroke_width=line.width, stroke_dasharray=line.dash or None
        )
        key = element("svg", stroke, width=22, height=12, aria_hidden="true", class_="swatch")
        keys.append(element("li", element("span", key, line.label, class_="name")))
    return element("ul", *keys, class_="legend")
