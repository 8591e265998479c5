"""How the time of a search is shared out, and which trials go on."""

import pytest

from fmalloc_export.students.budget import Budget, Trial, promising, rounds
from fmalloc_export.students.points import Point
from fmalloc_runtime.bundle.bundle import Drop, Quality


def quality(lost: float, bound: float = 0.3) -> Quality:
    drop = Drop(value=lost, low=lost, high=lost)
    scores = {"bleu_before": 30.0, "bleu_after": 30 - lost, "chrf_before": 50.0, "chrf_after": 50 - lost}
    text = {"pairs": 1, "held_out": "0" * 64, "signature": "none"}
    return Quality(**scores, **text, bleu_drop=drop, chrf_drop=drop, bound=bound, allowed=False)


def trial(depth: int, milliseconds: float, lost: float, distance: float) -> Trial:
    return Trial(Point(depth, 9, 9, None, 4, 1.0, milliseconds, 1.0, quality(lost)), distance, 1 / 8)


@pytest.mark.parametrize(("depths", "learning"), [(4, [4, 2, 1]), (3, [3, 2, 1]), (2, [2, 1]), (1, [1])])
def test_half_of_the_depths_goes_on_and_one_to_its_end(depths: int, learning: list[int]) -> None:
    found = rounds(depths)
    assert [one.depths for one in found] == learning
    assert [one.begun for one in found] == [0.0, *(one.share for one in found[:-1])]
    assert found[-1].share == 1


@pytest.mark.parametrize("depths", [1, 2, 3, 4])
def test_all_ends_within_the_budget(depths: int) -> None:
    budget = Budget(20, depths, begun=100.0)
    learning = sum(one.depths * (one.share - one.begun) * budget.each for one in rounds(depths))
    ends = [limit.deadline - 100 for limit in (budget.translating, budget.learning, budget.whole)]
    assert ends[1] - ends[0] == pytest.approx(60 * learning)
    assert ends[0] > 0 and ends[2] == 20 * 60 and ends[2] - ends[1] >= 4 * 60
    assert "within 20 minutes" in budget.explain()


def test_of_depths_that_may_keep_the_bound_the_fastest_go_on() -> None:
    trials = [trial(4, 4.0, 0.2, 0.02), trial(3, 3.0, 0.3, 0.03), trial(2, 2.0, 0.4, 0.04), trial(1, 1.0, 9, 0.9)]
    assert [found.point.depth for found in promising(trials, 0.3, 2)] == [2, 3]
    assert [found.point.depth for found in promising(trials, 10, 1)] == [1]


def test_where_none_may_the_nearest_go_on_by_their_distance_not_by_chance() -> None:
    trials = [trial(4, 4.0, 3.1, 0.5), trial(3, 3.0, 2.9, 0.6), trial(2, 2.0, 6, 0.9)]
    assert [found.point.depth for found in promising(trials, 0.3, 2)] == [4, 3]
