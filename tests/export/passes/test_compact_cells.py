from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from fmalloc_export.domain.model import DomainModel
from fmalloc_export.passes.compact_cells import CompactCells, Rankings, allocate
from fmalloc_export.passes.saliency import Ranking, refit
from tests.support.calibrated import Stack, moments_of, stack_of


def inputs(positions: int = 2000) -> NDArray[np.float64]:
    """Of rank 4 of 6, as a domain's text is narrower than all text."""
    draw = np.random.default_rng(1)
    return np.asarray(draw.normal(size=(positions, 4)) @ draw.normal(size=(4, 6)))


def error(stack: Stack, model: DomainModel, other: DomainModel) -> float:
    expected, found = stack.outputs(model), stack.outputs(other)
    return float(((expected - found) ** 2).sum() / ((expected - expected.mean(axis=0)) ** 2).sum())


def cut(model: DomainModel, kept: dict[str, NDArray[np.int64]]) -> DomainModel:
    return replace(model, feed_forward=tuple(layer.select(kept[layer.name]) for layer in model.feed_forward))


def test_it_keeps_the_share_of_the_cells_that_is_asked_for() -> None:
    before = stack_of(40, 31, 2)
    after, report = CompactCells(Rankings(Stack(inputs())), 0.25).apply(before)
    after.verify()
    assert sum(after.widths.values()) == 18
    assert min(after.widths.values()) >= 1
    assert report.startswith("kept 18 of 73 cells and fitted fc2 again; on calibration text the layers' outputs lose ")
    for old, new in zip(before.feed_forward, after.feed_forward, strict=True):
        np.testing.assert_array_equal(new.fc1_weight, old.fc1_weight[new.cells])
        np.testing.assert_array_equal(new.fc1_bias, old.fc1_bias[new.cells])


def test_the_refit_is_far_better_than_none_and_the_choice_better_than_chance() -> None:
    """On other text of the same kind than was calibrated on."""
    text = inputs(4000)
    stack, other = Stack(text[:2000]), Stack(text[2000:])
    before = stack_of(64, 64)
    compacted, _ = CompactCells(Rankings(stack), 0.5).apply(before)
    same_cells = cut(before, {layer.name: layer.cells for layer in compacted.feed_forward})
    draw = np.random.default_rng(0)
    chance = []
    for _ in range(5):
        kept = {name: np.sort(draw.choice(width, width // 2, replace=False)) for name, width in before.widths.items()}
        chance.append(error(other, before, cut(before, kept)))
    fitted = error(other, before, compacted)
    assert fitted < error(other, before, same_cells) / 10
    assert fitted < min(chance) / 10
    assert fitted < 0.02


def test_fewer_cells_are_some_of_more_cells() -> None:
    """One ranking serves every share, so that a larger share never loses a cell that a smaller one has."""
    before, rankings = stack_of(24, 24), Rankings(Stack(inputs()))
    models = [CompactCells(rankings, keep).apply(before)[0] for keep in (0.2, 0.5, 0.9)]
    for smaller, larger in pairwise(models):
        for few, many in zip(smaller.feed_forward, larger.feed_forward, strict=True):
            assert set(few.cells) <= set(many.cells)


def test_a_layer_whose_cells_repeat_each_other_gives_more_of_them_away() -> None:
    before = stack_of(24, 24)
    layer = before.feed_forward[0]
    weights, biases = layer.fc1_weight.copy(), layer.fc1_bias.copy()
    weights[8:16], weights[16:], biases[8:16], biases[16:] = weights[:8], weights[:8], biases[:8], biases[:8]
    before = replace(before, feed_forward=(replace(layer, fc1_weight=weights, fc1_bias=biases), before.feed_forward[1]))
    rankings = Rankings(Stack(inputs()))
    after, _ = CompactCells(rankings, 0.6).apply(before)
    assert after.widths["encoder.0"] <= 12
    assert sum(after.widths.values()) == round(0.6 * 48)
    assert rankings.of(before) is rankings.of(before)


@pytest.mark.parametrize("total", [0, 3, 7, 11, 40, 60])
def test_the_sum_of_losses_is_as_small_as_it_can_be(total: int) -> None:
    draw = np.random.default_rng(total)
    curves = {}
    for name, width, scale in (("a", 20, 1.0), ("b", 9, 5.0), ("c", 1, 1.0)):
        costs = np.sort(scale * draw.random(width))  # the first cell to go costs least: curves are convex
        curves[name] = np.append(np.cumsum(costs)[::-1], 0.0)
    counts = allocate(curves | {"empty": np.zeros(1)}, total)
    assert counts.pop("empty") == 0
    assert sum(counts.values()) == min(30, max(3, total))
    cells = sum(counts.values())
    every = [(a, b, 1) for a in range(1, 21) for b in range(1, 10) if a + b + 1 == cells]
    lowest = min(sum(curve[n] for curve, n in zip(curves.values(), kept, strict=True)) for kept in every)
    assert sum(curves[name][count] for name, count in counts.items()) == pytest.approx(lowest)


def test_no_layer_has_fewer_cells_where_there_are_more_in_all() -> None:
    """Also where a cell is worth more than one that goes before it, so that a curve is not convex."""
    curves = {"a": np.array([9.0, 8.0, 7.9, 1.0, 0.0]), "b": np.array([5.0, 3.0, 2.0, 1.5, 0.0])}
    found = [allocate(curves, total) for total in range(2, 9)]
    assert [sum(counts.values()) for counts in found] == list(range(2, 9))
    assert all(fewer[name] <= more[name] <= 4 for fewer, more in pairwise(found) for name in curves)


def test_the_curve_of_losses_is_what_refits_lose() -> None:
    draw = np.random.default_rng(5)
    moments = moments_of(np.maximum(draw.normal(size=(900, 40)), 0).astype(np.float32))
    values = draw.normal(size=(40, 5))
    ranking = Ranking.of(moments, values)
    curve = ranking.losses
    assert len(curve) == 41
    assert (np.diff(curve) <= 1e-12).all()
    variance = np.trace(values.T @ moments.covariance @ values)
    for count in (5, 20, 39):
        kept = ranking.kept(count)
        lost = refit(moments, values, np.zeros(5), kept).lost_variance
        assert curve[count] == pytest.approx(lost * variance, rel=0.02)
    assert curve[40] == 0
    assert curve[0] == pytest.approx(variance, rel=0.02)


def test_cells_that_repeat_others_cost_nothing() -> None:
    """The second half of the cells repeats the first; each pair needs one."""
    before = stack_of(16)
    layer = before.feed_forward[0]
    weights, biases = layer.fc1_weight.copy(), layer.fc1_bias.copy()
    weights[8:], biases[8:] = weights[:8], biases[:8]
    before = replace(before, feed_forward=(replace(layer, fc1_weight=weights, fc1_bias=biases),))
    stack = Stack(inputs())
    after, _ = CompactCells(Rankings(stack), 0.5).apply(before)
    assert sorted(after.feed_forward[0].cells % 8) == list(range(8))
    assert error(stack, before, after) < 1e-4


def test_everything_kept_is_nothing_done() -> None:
    before = stack_of(8)
    after, report = CompactCells(Rankings(Stack(inputs())), 1.0).apply(before)
    assert after is before
    assert report == "nothing to do: all 8 cells are kept"


def test_cells_that_never_fire_go_first() -> None:
    before = stack_of(12)
    biases = before.feed_forward[0].fc1_bias.copy()
    biases[[1, 5, 6]] = -1e4
    before = replace(before, feed_forward=(replace(before.feed_forward[0], fc1_bias=biases),))
    after, _ = CompactCells(Rankings(Stack(inputs())), 0.75).apply(before)
    assert after.feed_forward[0].cells.tolist() == [0, 2, 3, 4, 7, 8, 9, 10, 11]


def test_a_layer_that_never_does_anything_is_compacted_too() -> None:
    before = stack_of(8)
    silent = replace(before.feed_forward[0], fc1_bias=np.full(8, -1e4, dtype=np.float32))
    after, report = CompactCells(Rankings(Stack(inputs())), 0.5).apply(replace(before, feed_forward=(silent,)))
    assert after.widths == {"encoder.0": 4}
    assert "lose 0.0% to 0.0%" in report


@pytest.mark.parametrize("seed", range(3))
def test_elimination_is_optimal_brain_surgeon_cell_by_cell(seed: int) -> None:
    """Beside a direct implementation that inverts anew for every cell, with more cells than one block holds."""
    draw = np.random.default_rng(seed)
    activations = np.maximum(draw.normal(size=(400, 90)) @ draw.normal(size=(90, 90)), 0).astype(np.float32)
    values = draw.normal(size=(90, 5))
    moments = moments_of(activations)
    np.testing.assert_allclose(moments.covariance, np.cov(activations.T, bias=True), rtol=1e-4, atol=1e-3)
    regular = moments.covariance + moments.ridge * np.eye(90)
    kept = list(range(90))
    while len(kept) > 20:
        inverse = np.linalg.inv(regular[np.ix_(kept, kept)])
        gone = np.setdiff1d(np.arange(90), kept)
        adjusted = values[kept] + inverse @ regular[np.ix_(kept, gone)] @ values[gone]
        kept.pop(int(np.argmin((adjusted**2).sum(axis=1) / np.diag(inverse))))
    found = Ranking.of(moments, values).kept(20)
    assert len(set(found) & set(kept)) >= 18
    direct, ours = (refit(moments, values, np.zeros(5), np.array(cells)).lost_variance for cells in (kept, found))
    assert ours <= direct * 1.02


def test_the_refit_is_the_least_squares_solution() -> None:
    draw = np.random.default_rng(3)
    activations = draw.normal(size=(500, 12)) @ draw.normal(size=(12, 12)) + 2
    values, bias = draw.normal(size=(12, 4)), draw.normal(size=4)
    kept = np.array([0, 2, 3, 5, 8, 9, 11])
    fit = refit(moments_of(activations.astype(np.float32)), values, bias, kept)
    with_ones = np.hstack([activations[:, kept], np.ones((500, 1))])
    target = activations @ values + bias
    solution, *_ = np.linalg.lstsq(with_ones, target, rcond=None)
    best = ((target - with_ones @ solution) ** 2).sum()
    ours = ((target - activations[:, kept] @ fit.values - fit.bias) ** 2).sum()
    assert best <= ours * (1 + 1e-9) <= best * 1.01
    spread = ((target - target.mean(axis=0)) ** 2).sum()
    assert fit.lost_variance == pytest.approx(ours / spread, rel=1e-3)
