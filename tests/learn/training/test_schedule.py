import pytest

from fmalloc.training.schedule import Schedule


def test_the_rate_rises_evenly_to_its_peak_and_falls_with_the_square_root() -> None:
    schedule = Schedule(updates=100, warmup_updates=4, validate_every=10, seed=1)
    rates = [schedule.rate(update) for update in range(100)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert max(rates) == rates[3]
    assert rates[15] == pytest.approx(1 / 2)  # the 16th update, four times as late as the peak
    assert rates[99] == pytest.approx(1 / 5)
