import numpy as np
import pytest

from fmalloc_export.checks.share import smallest_share


def nats(keep: float) -> float:
    return float(0.4 * (1 / keep - 1) ** 2)


@pytest.mark.parametrize("price", [3.0, 12.0])
@pytest.mark.parametrize("seed", range(20))
def test_chance_moves_the_share_by_little(price: float, seed: int) -> None:
    """Scores have a noise as large as the bound. A search that followed them would stop anywhere."""
    draw = np.random.default_rng(seed)
    noise = {keep: draw.normal(scale=0.3) for keep in (0.5, 0.25, 0.125)}
    ideal = next(step / 64 for step in range(1, 65) if nats(step / 64) <= 0.7 * 0.3 / price)
    found = smallest_share(nats, lambda keep: price * nats(keep) + noise.get(keep, 0.0), 0.3)
    assert abs(found - ideal) <= 3 / 64
    assert price * nats(found) <= 0.3


def test_a_share_that_is_not_confirmed_is_followed_by_a_larger_one() -> None:
    asked: list[float] = []

    def drop(keep: float) -> float:
        asked.append(keep)
        return 10 * nats(keep) + (0.5 if len(asked) == 2 else 0.0)

    found = smallest_share(nats, drop, 0.3)
    assert asked == [0.5, asked[1], found]
    assert asked[1] < found < 1
    assert nats(found) <= nats(asked[1]) / 2


def test_nothing_that_can_be_confirmed_leaves_every_cell() -> None:
    assert smallest_share(nats, lambda keep: 5.0 + 10 * nats(keep), 0.3) == 1.0


def test_cells_that_do_nothing_all_go() -> None:
    assert smallest_share(lambda _keep: 0.0, lambda _keep: 0.0, 0.3) == 1 / 64
    assert smallest_share(nats, lambda _keep: 0.0, 100.0) == 1 / 64


def test_without_a_bound_to_spare_nothing_is_lost() -> None:
    assert smallest_share(nats, lambda keep: 10 * nats(keep), 0.0) == 1.0
