"""How much of the memory is used and free, and how many more domains fit.

n more domains that claim what domain t claimed fit while n times its claim is free in every layer, so the tightest
layer decides: n_t = min over layers of floor(free / claimed by t). The forecast is the median of n_t over past domains,
and its range their least and greatest. It is conservative: a domain can still be learned when its tightest layer is
full, with fewer cells there.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from fmalloc.evaluation.matrix import Capacity
from fmalloc.report.drawing.palette import Palette
from fmalloc.report.drawing.rendering import render
from fmalloc.store.cells import GENERAL_OWNER, CellTable


@dataclass(frozen=True)
class RoomForecast:
    """How many more domains like `domain` fit; `layer` is the tightest, `overall` all free cells over its claim."""

    domain: str
    claimed: int
    domains: int
    layer: str
    overall: float


@dataclass(frozen=True)
class Forecast:
    """What past domains claimed, by name and layer, and how many more like each fit; none for claims of nothing."""

    claims: Mapping[str, Mapping[str, int]]
    fits: tuple[RoomForecast, ...]

    @classmethod
    def of(cls, table: CellTable, orders: Mapping[str, int]) -> "Forecast":
        """From a store's cell table; `orders` are the tasks' orders by name."""
        claims = {name: table.count(order) for name, order in orders.items()}
        free = table.free_count()
        return cls(claims, tuple(_fit(name, claim, free) for name, claim in claims.items() if any(claim.values())))

    @property
    def range(self) -> tuple[int, int, int] | None:
        """Least, median (rounded down) and greatest number of domains that fit; None if nothing was claimed so far."""
        counts = [fit.domains for fit in self.fits]
        return (min(counts), math.floor(statistics.median(counts)), max(counts)) if counts else None

    def __str__(self) -> str:
        if self.range is None:
            return "unknown"
        least, middle, most = self.range
        noun = "domain" if middle == 1 else "domains"
        return f"{middle} {noun}" if least == most else f"{middle} {noun} ({least} to {most})"


def _fit(name: str, claim: Mapping[str, int], free: Mapping[str, int]) -> RoomForecast:
    tightest = min((layer for layer in claim if claim[layer]), key=lambda layer: free[layer] / claim[layer])
    total = sum(claim.values())
    return RoomForecast(name, total, free[tightest] // claim[tightest], tightest, sum(free.values()) / total)


def capacity_section(cells: CellTable, forecast: Forecast, palette: Palette) -> Markup:
    """Room by layer, and the forecast with how it is computed."""
    general, reserved = cells.count(GENERAL_OWNER), cells.reserved_count()
    freed = {layer: len(owners) - general[layer] - reserved[layer] for layer, owners in cells.owners.items()}
    claims = forecast.claims.values()
    medians = {layer: statistics.median(claim[layer] for claim in claims) if claims else None for layer in freed}
    return render(
        "capacity", palette=palette, forecast=forecast, capacity=Capacity.of(cells), freed=freed, medians=medians
    )
