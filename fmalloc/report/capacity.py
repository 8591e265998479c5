"""What of the memory is used and free, and how many more domains fit."""

import statistics

from fmalloc.evaluation.matrix import Capacity
from fmalloc.report.forecast import Forecast
from fmalloc.report.markup import Html, element, joined, paragraph, section
from fmalloc.report.numbers import percent
from fmalloc.report.palette import Palette
from fmalloc.report.tables import cell, table
from fmalloc.store.cells import GENERAL_OWNER, CellTable


def capacity_section(cells: CellTable, forecast: Forecast, palette: Palette) -> Html:
    """Room by layer, and the forecast with how it is computed."""
    capacity, writable = Capacity.of(cells), _writable(cells)
    free = sum(capacity.free.values())
    freed = sum(writable.values())
    sentence = f"Of {freed:,} cells that pruning freed, {freed - free:,} are claimed ({percent(capacity.used)})."
    return section(
        "capacity",
        "Capacity and forecast",
        paragraph(sentence),
        _forecast(forecast),
        _fits(forecast, palette),
        _room(writable, capacity, forecast),
    )


def _writable(cells: CellTable) -> dict[str, int]:
    general = cells.count(GENERAL_OWNER)
    return {layer: len(owners) - general[layer] for layer, owners in cells.owners.items()}


def _forecast(forecast: Forecast) -> Html:
    if forecast.range is None:
        why = "no domain claimed a cell" if forecast.claims else "no domain has been learned"
        return paragraph(f"There is no forecast: {why} so far, so nothing says what the next one would claim.")
    past = "the one past domain" if len(forecast.fits) == 1 else f"the {len(forecast.fits)} past domains"
    return joined(
        [
            paragraph(
                element("strong", f"{forecast_text(forecast)} more would fit"), f", going by what {past} claimed."
            ),
            paragraph(
                "More domains like a past one fit as long as its claim is free in every layer: the tightest layer "
                "decides. The forecast is the median over past domains (rounded down), the range their least and "
                "greatest. It is careful, because a domain can still be learned when a layer is full, with fewer cells "
                "there; “all layers together” says how often the claim would fit if only the sum counted. What a "
                "domain claims also depends on what it was offered (the setting share).",
                class_="note",
            ),
        ]
    )


def forecast_text(forecast: Forecast) -> str:
    """The forecast in a few words."""
    if forecast.range is None:
        return "unknown"
    least, middle, most = forecast.range
    noun = "domain" if middle == 1 else "domains"
    return f"{middle} {noun}" if least == most else f"{middle} {noun} ({least} to {most})"


def _fits(forecast: Forecast, palette: Palette) -> Html | None:
    rows = [
        (
            palette.name(fit.domain),
            f"{fit.claimed:,}",
            f"{fit.domains:,}",
            f"{fit.overall:,.1f}",
            cell(fit.layer, class_="text"),
        )
        for fit in forecast.fits
    ]
    header = ("domains like", "cells claimed", "more that fit", "all layers together", "tightest layer")
    return table("How many more domains like each past one fit", header, rows, class_="worded") if rows else None


def _room(writable: dict[str, int], capacity: Capacity, forecast: Forecast) -> Html:
    rows = []
    for layer, count in writable.items():
        claims = [claim[layer] for claim in forecast.claims.values()]
        median = f"{statistics.median(claims):,.0f}" if claims else "–"
        free = capacity.free[layer]
        used = percent(capacity.used_by_layer[layer])
        rows.append((layer, f"{count:,}", f"{count - free:,}", used, f"{free:,}", median))
    header = ("layer", "freed", "claimed", "of the freed", "free", "median claim a domain")
    return table("Room by layer", header, rows)
