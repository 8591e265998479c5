from dataclasses import replace

import pytest

from fmalloc.training.schedule import Schedule


def test_the_rate_rises_evenly_to_its_peak_and_falls_with_the_square_root() -> None:
    schedule = Schedule(updates=100, warmup_updates=4, validate_every=10, seed=1)
    rates = [schedule.rate(update) for update in range(100)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert max(rates) == rates[3]
    assert rates[15] == pytest.approx(1 / 2)  # the 16th update, four times as late as the peak
    assert rates[99] == pytest.approx(1 / 5)


def test_in_the_cooldown_the_rate_falls_evenly_to_zero() -> None:
    plain = Schedule(updates=100, warmup_updates=4, validate_every=10, seed=1)
    cooled = replace(plain, cooldown=0.2)
    shares = [cooled.rate(update) / plain.rate(update) for update in range(100)]
    assert shares[:81] == [1.0] * 81
    assert shares[80:] == pytest.approx([(20 - i) / 20 for i in range(20)])


@pytest.mark.parametrize(
    ("update", "seconds", "updates"),
    [
        (0, 0.0, 1000),  # nothing is known yet
        (10, 20.0, 29),  # (60 - 1 - 20) / 2 fit
        (10, 0.1, 1000),  # no more than are asked for
        (30, 59.5, 30),
        (40, 70.0, 40),
    ],
)
def test_as_many_updates_as_fit_into_the_time(update: int, seconds: float, updates: int) -> None:
    schedule = Schedule(updates=1000, warmup_updates=4, validate_every=10, seed=1, minutes=1)
    assert schedule.in_time(update, seconds, reserve=1.0).updates == updates
    assert replace(schedule, minutes=None).in_time(update, seconds, reserve=1.0).updates == 1000
