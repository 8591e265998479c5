from dataclasses import replace

import numpy as np

from fmalloc_export.domain.model import DomainModel
from fmalloc_export.passes.drop_dead_cells import DropDeadCells
from tests.support.calibrated import Stack, stack_of, swish


def with_dead(model: DomainModel, *dead: tuple[int, ...]) -> DomainModel:
    """The cells that are named, layer by layer, never fire."""
    layers = []
    for layer, cells in zip(model.feed_forward, dead, strict=True):
        bias = layer.fc1_bias.copy()
        bias[list(cells)] = -1e4
        layers.append(replace(layer, fc1_bias=bias))
    return replace(model, feed_forward=tuple(layers))


def test_cells_that_never_fire_are_cut_and_nothing_changes_on_that_text() -> None:
    stack = Stack(np.random.default_rng(1).normal(size=(300, 6)))
    before = with_dead(stack_of(10, 12), (0, 3), (11,))
    after, report = DropDeadCells(stack).apply(before)
    after.verify()
    dropped = {cell for layer in (0,) for cell in set(range(10)) - set(after.feed_forward[layer].cells.tolist())}
    assert {0, 3} <= dropped
    assert 11 not in after.feed_forward[1].cells
    fired = stack.fired(before)
    assert after.widths == {name: int(cells.sum()) for name, cells in fired.items()}
    np.testing.assert_allclose(stack.outputs(after), stack.outputs(before), rtol=0, atol=1e-12)
    cut = 22 - sum(after.widths.values())
    assert report.startswith(f"cut {cut} cells that never fire at 300 or more positions")
    assert "fewer than 1 % of like positions" in report


def test_a_layer_may_be_left_without_cells() -> None:
    stack = Stack(np.random.default_rng(1).normal(size=(50, 6)))
    after, _ = DropDeadCells(stack).apply(with_dead(stack_of(4, 4), (0, 1, 2, 3), ()))
    assert after.widths["encoder.0"] == 0
    after.verify()


def test_it_does_not_apply_where_no_activation_is_exactly_zero() -> None:
    stack = Stack(np.random.default_rng(1).normal(size=(50, 6)), swish)
    before = with_dead(stack_of(4, 4, activation="swish"), (0,), ())
    after, report = DropDeadCells(stack).apply(before)
    assert after is before
    assert report == DropDeadCells(stack).explain(before)
    assert report.startswith("does not apply: swish is nowhere exactly 0")
