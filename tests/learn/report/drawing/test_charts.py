"""Charts of the report: scales, what is drawn, what is said, and colours that can be told apart."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmalloc.report.drawing.charts import Line, axis, bar_chart, line_chart
from fmalloc.report.drawing.palette import Palette, levels, shade
from fmalloc.report.drawing.rendering import number, part_of, percent, signed
from fmalloc_shared.names import GENERAL

values = st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 6)), min_size=1, max_size=20)


@given(values, st.booleans())
def test_every_value_has_its_place_and_ticks_are_few(found: list[float], tight: bool) -> None:
    scale = axis(found, 10, 110, tight=tight)
    assert all(9.999 <= scale(value) <= 110.001 for value in found)
    assert 1 <= len(scale.ticks) <= 7
    assert all(10 - 1e-6 <= scale(tick) <= 110 + 1e-6 for tick in scale.ticks)
    assert len(set(scale.labels())) == len(scale.ticks)


def test_ticks_are_round() -> None:
    assert axis([0, 1500], 0, 1, tight=True).labels() == ("0", "500", "1,000", "1,500")
    assert axis([1.19, 2.5], 0, 1).labels() == ("1.0", "1.5", "2.0", "2.5")
    assert axis([0, 1e-6], 0, 1).labels() == ("0.00000000", "0.00000025", "0.00000050", "0.00000075", "0.00000100")
    assert axis([0.0], 0, 1).labels()[0] == "0.0"
    assert axis([250.0], 0, 1, tight=True).labels() == ("250",)


def test_a_line_is_drawn_through_its_known_points() -> None:
    line = Line("dev", [(0, 1.0), (10, math.nan), (20, 3.0), (30, math.inf)], "#123456", "5 2")
    chart = line_chart("NLL", [line, Line("none", [])], x_label="updates", mark=(20.0, "kept"))
    (path,) = re.findall(r'<path d="(M[^"]+)" stroke="#123456" stroke-width="2" stroke-dasharray="5 2"', chart)
    assert path.count("L") == 1 and chart.count("<circle") == 2
    assert "NLL: dev from 1.00 at 0 to 3.00 at 20; kept at 20" in chart
    assert "legend" not in chart


def test_a_chart_without_values_says_so() -> None:
    assert "Not measured" in line_chart("dev BLEU", [Line("dev", [(0, math.nan)])], x_label="updates")


def test_bars_are_stacked_to_their_sums() -> None:
    chart = bar_chart("layer", [((1.0, "#a"), (3.0, "#b")), ((0.0, "#a"), (2.0, "#b"))], [(0.5, "0")], "spoken")
    boxes = re.findall(r'y="([\d.]+)"\s+width="[\d.]+" height="([\d.]+)"\s+fill="(#.)"', chart)
    (low, low_height, _), (high, high_height, _), (other, _, _) = boxes
    assert float(high) + float(high_height) == pytest.approx(float(low), abs=0.02)
    assert float(high_height) == pytest.approx(3 * float(low_height), abs=0.05)
    assert float(high) < float(other) < float(low)


def test_levels_follow_scores_and_do_not_exaggerate() -> None:
    best, worst, none, middle = levels([40.0, 20.0, None, 30.0])
    assert none is None and best > middle > worst == 0
    near = levels([40.0, 39.9])
    assert near[0] == best and near[1] > 0.9 * best
    assert levels([1.5, 3.0], lower_is_better=True) == [best, 0]
    assert levels([0.0, 0.0]) == [best, best] and levels([None]) == [None]


def _channels(colour: str) -> list[float]:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def _luminance(colour: str) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), _channels(colour), strict=True))


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("level", [index / 20 for index in range(21)])
def test_text_on_a_shade_stays_readable(level: float) -> None:
    back, text = re.findall(r"#[0-9a-f]{3,6}", shade(level))
    assert _contrast(back, "#ffffff" if text == "#fff" else text) >= 4


def test_neighbours_differ_in_grey_and_lines_show_on_white() -> None:
    domains = [f"d{index}" for index in range(12)]
    palette = Palette(GENERAL, domains)
    colours = [palette[domain].colour for domain in domains]
    assert all(_contrast(one, other) > 1.7 for one, other in pairwise(colours))
    assert all(_contrast(colour, "#ffffff") > 2.2 for colour in colours)
    looks = {(palette[domain].colour, palette[domain].dash) for domain in domains}
    assert len(looks) == len({palette[domain].fill for domain in domains}) == 12
    assert palette.sorted(["d3", GENERAL, "d1", "d3"]) == [GENERAL, "d1", "d3"]


def test_text_is_escaped_once() -> None:
    chart = line_chart("<&>", [Line('"<b>', [(0, 1.0)], '"><b>')], x_label="updates")
    assert "<figcaption>&lt;&amp;&gt;</figcaption>" in chart
    assert "<title>&lt;&amp;&gt;: &#34;&lt;b&gt; 1.00 at 0</title>" in chart
    assert 'stroke="&#34;&gt;&lt;b&gt;"' in chart
    assert "<b>" not in chart


def test_numbers_say_what_they_are() -> None:
    assert (number(None), number(-0.001), number(1234.5, 1)) == ("–", "0.00", "1,234.5")
    assert (signed(0.001), signed(-1.5), signed(2.0)) == ("0.00", "−1.50", "+2.00")
    assert percent(-0.1016, 2) == "−10.16\N{NO-BREAK SPACE}%"
    shares = [part_of(count, 10_000) for count in (0, 1, 5000, 9_999, 10_000)]
    assert [share[:-2] for share in shares] == ["0", "0.1", "50.0", "99.9", "100"]
