import math

import pytest

from fmalloc.training.divergence import Trend, problem_of

CHANCE = math.log(8000)


def follow(losses: list[float]) -> Trend:
    trend = None
    for loss in losses:
        trend = Trend.after(trend, loss)
    assert trend is not None
    return trend


def test_a_falling_a_noisy_and_a_flat_loss_are_fine() -> None:
    for losses in ([9.0 - i / 20 for i in range(100)], [4.0, 9.0] * 50, [CHANCE] * 100, [12.0] * 100):
        assert problem_of(losses[-1], 1.0, follow(losses), CHANCE) is None


def test_one_bad_batch_is_not_divergence() -> None:
    assert problem_of(30.0, 1.0, follow([4.0] * 50 + [30.0]), CHANCE) is None


def test_a_loss_that_stays_above_chance_and_its_start_is() -> None:
    problem = problem_of(14.0, 1.0, follow([9.5] + [14.0] * 60), CHANCE)
    assert problem is not None
    assert "diverges" in problem
    assert "above 10.50" in problem


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_and_gradients_have_to_be_numbers(value: float) -> None:
    fine = Trend(9.0, 9.0)
    assert f"the loss is {value}" in str(problem_of(value, 1.0, fine, CHANCE))
    assert f"the gradient's norm is {value} (loss 9.00)" in str(problem_of(9.0, value, fine, CHANCE))
