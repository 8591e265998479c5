"""How important the cells of each layer are to general text, and which of them pruning freed."""

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fmalloc.report.drawing.charts import bar_chart
from fmalloc.report.drawing.palette import FREE, Palette
from fmalloc.report.drawing.rendering import render
from fmalloc.store.cells import Mask
from fmalloc.store.records import ImportanceRecord
from fmalloc_shared.names import GENERAL

_BINS = 24
_GAP = 3
_LOW_CORRELATION = 0.8
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def importance_section(
    importance: Mapping[str, NDArray[np.float64]],
    general: Mapping[str, Mask],
    record: ImportanceRecord,
    palette: Palette,
) -> Markup:
    """A histogram for each layer, with common bins, so that layers can be compared."""
    edges = _edges(importance)
    fills = (palette[FREE].fill, palette[GENERAL].fill)
    charts = [_histogram(layer, values, general[layer], edges, fills) for layer, values in importance.items()]
    looks = {"palette": palette, "GENERAL": GENERAL, "FREE": FREE}
    correlation = record.rank_correlation
    return render("importance", **looks, charts=charts, correlation=correlation, is_low=correlation < _LOW_CORRELATION)


def _edges(importance: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Edges of the bins of log10(importance), from the least to the greatest importance above 0."""
    positive = np.concatenate([*(values[values > 0] for values in importance.values()), np.empty(0)])
    logarithms = np.log10(positive) if positive.size else np.array([-1.0, 0.0])
    return np.linspace(np.floor(logarithms.min()), np.floor(logarithms.max()) + 1, _BINS + 1)


def _histogram(
    layer: str, values: NDArray[np.float64], mask: Mask, edges: NDArray[np.float64], fills: tuple[str, str]
) -> Markup:
    """Freed below kept cells; those of importance 0 stand apart, on the left."""

    def counts(chosen: Mask) -> list[int]:
        positive = np.log10(values[chosen & (values > 0)])
        return [int((chosen & (values <= 0)).sum()), *[0] * _GAP, *np.histogram(positive, edges)[0].tolist()]

    freed, kept = counts(~mask), counts(mask)
    bars = [tuple(zip(map(float, both), fills, strict=True)) for both in zip(freed, kept, strict=True)]
    first, last = int(edges[0]), int(edges[-1])
    labels = [
        (1 + _GAP + (power - first) / (last - first) * _BINS, f"10{str(power).translate(_SUPERSCRIPTS)}")
        for power in sorted({first, (first + last) // 2, last})
    ]
    spoken = (
        f"{layer}: {len(values):,} cells, {sum(freed):,} freed, median importance {np.median(values):.1e}, "
        f"{kept[0] + freed[0]:,} of importance 0"
    )
    return bar_chart(layer, bars, [(0.5, "0"), *labels], spoken)
