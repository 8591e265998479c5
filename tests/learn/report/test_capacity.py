"""How many more domains fit: the tightest layer decides."""

import numpy as np
import pytest

from fmalloc.report.capacity import Forecast, RoomForecast
from fmalloc.store.cells import CellTable


def table(free: int, **claims: tuple[int, int]) -> CellTable:
    """Two layers where tasks claim so many cells; `free` are left in the first, twice as many in the second."""
    owners = {}
    for index, layer in enumerate(("encoder.0", "decoder.0")):
        parts = [np.zeros(5, dtype=np.int64), np.full((index + 1) * free, -1)]
        parts += [np.full(claim[index], order) for order, claim in enumerate(claims.values(), start=1)]
        owners[layer] = np.concatenate(parts).astype(np.int64)
    return CellTable(owners)


def forecast(free: int, **claims: tuple[int, int]) -> Forecast:
    return Forecast.of(table(free, **claims), {name: order for order, name in enumerate(claims, start=1)})


def test_the_tightest_layer_decides() -> None:
    (fit,) = forecast(10, it=(2, 10)).fits
    assert fit == RoomForecast("it", 12, 2, "decoder.0", 30 / 12)
    (fit,) = forecast(10, it=(7, 10)).fits
    assert (fit.domains, fit.layer) == (1, "encoder.0")


def test_the_range_is_that_of_past_domains() -> None:
    found = forecast(12, it=(1, 1), law=(3, 3), koran=(13, 0), news=(4, 4))
    assert [fit.domains for fit in found.fits] == [12, 4, 0, 3]
    assert found.range == (0, 3, 12)
    assert found.claims["koran"] == {"encoder.0": 13, "decoder.0": 0}


@pytest.mark.parametrize(("free", "expected"), [(0, (0, 0, 0)), (1, (0, 0, 0)), (2, (1, 1, 1))])
def test_a_full_layer_leaves_no_room(free: int, expected: tuple[int, int, int]) -> None:
    assert forecast(free, it=(2, 1)).range == expected


def test_claims_of_nothing_bound_nothing() -> None:
    assert forecast(3).range is None
    assert forecast(3, it=(0, 0)).range is None
    assert forecast(3, it=(0, 0), law=(1, 6)).range == (1, 1, 1)
