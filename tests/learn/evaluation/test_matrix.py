"""What a matrix says, against figures worked out by hand; what is not defined is None."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmalloc.evaluation.matrix import Capacity, Matrix, Measures, stability_gap
from fmalloc.store.cells import CellTable
from fmalloc.store.records import CurvePoint, Score, Scores

TASKS = ("a", "b", "c")
ROWS = ({"a": 40.0, "b": 12.0, "c": 5.0}, {"a": 30.0, "b": 50.0, "c": 8.0}, {"a": 20.0, "b": 40.0, "c": 60.0})
BASE = {"a": 10.0, "b": 10.0, "c": 4.0}
SCORE = st.floats(0.5, 100)


def test_every_measure_of_a_small_matrix() -> None:
    matrix = Matrix(TASKS, ROWS, BASE)
    assert matrix.measures() == Measures(
        average=pytest.approx((20 + 40 + 60) / 3),
        forgetting_ratio=pytest.approx((20 / 40 + 10 / 50) / 2),
        forgetting=pytest.approx((20 + 10) / 2),
        backward_transfer=pytest.approx(-15),
        forward_transfer=pytest.approx(((12 - 10) + (8 - 4)) / 2),
    )
    single = {"a": 50.0, "b": 50.0, "c": 64.0}
    assert matrix.gain_reached(single) == pytest.approx({"a": 30 / 40, "b": 1.0, "c": 56 / 60})


@given(rows=st.lists(st.fixed_dictionaries(dict.fromkeys(TASKS, SCORE)), min_size=3, max_size=3), by=SCORE)
def test_points_do_not_depend_on_where_zero_is_and_ratios_not_on_the_unit(
    rows: list[dict[str, float]], by: float
) -> None:
    measures = Matrix(TASKS, rows, BASE).measures()
    moved = Matrix(TASKS, [{k: v - by for k, v in row.items()} for row in rows], {k: v - by for k, v in BASE.items()})
    assert moved.forgetting() == pytest.approx(measures.forgetting, abs=1e-9)
    assert moved.backward_transfer() == pytest.approx(measures.backward_transfer, abs=1e-9)
    assert moved.forward_transfer() == pytest.approx(measures.forward_transfer, abs=1e-9)
    scaled = Matrix(TASKS, [{k: v * by for k, v in row.items()} for row in rows])
    assert scaled.forgetting_ratio() == pytest.approx(measures.forgetting_ratio, abs=1e-9)


def test_one_task_has_an_average_and_nothing_to_forget() -> None:
    assert Matrix(("a",), ROWS[:1], BASE).measures() == Measures(40.0, None, None, None, None)
    assert Matrix((), ()).measures() == Measures(None, None, None, None, None)


def test_a_missing_score_makes_only_what_needs_it_undefined() -> None:
    """Task c was named later: no row before its own, and not the base's, holds it."""
    rows = [{"a": 40.0, "b": 12.0}, {"a": 30.0, "b": 50.0}, ROWS[2]]
    matrix = Matrix(TASKS, rows, {"a": 10.0, "b": 10.0})
    found = matrix.measures()
    assert found.forward_transfer is None
    assert (found.average, found.forgetting) == (pytest.approx(40), pytest.approx(15))
    assert matrix.gain_reached({"a": 50.0, "c": 64.0}) == {"a": pytest.approx(0.75), "b": None, "c": None}
    assert Matrix(TASKS, [*ROWS[:2], {"b": 40.0, "c": 60.0}], BASE).measures().average is None


def test_a_score_of_zero_leaves_points_but_no_ratio() -> None:
    matrix = Matrix(("a", "b"), [{"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 5.0}], {"a": 0.0, "b": 0.0})
    assert matrix.forgetting_ratio() is None
    assert matrix.forgetting() == -1.0
    assert matrix.gain_reached({"a": 0.0, "b": 10.0}) == {"a": None, "b": 0.5}


def test_an_nll_turns_its_sign_and_has_points_only() -> None:
    rows = [
        Scores(domains={"a": Score(bleu=1.0, chrf=2.0, nll=2.0), "b": Score(bleu=1.0, chrf=2.0)}, signatures={}),
        Scores(domains={"a": Score(bleu=1.0, chrf=2.0, nll=2.5), "b": Score(bleu=3.0, chrf=2.0)}, signatures={}),
    ]
    matrix = Matrix.of(("a", "b"), rows, None, "nll")
    assert matrix.forgetting() == 0.5 and matrix.forgetting_ratio() is None and matrix.average() is None
    assert Matrix.of(("a", "b"), rows, rows[0], "bleu").average() == 2.0


def point(update: int, **earlier: float) -> CurvePoint:
    return CurvePoint(update=update, bleu=0.0, chrf=0.0, nll=1.0, nll_shuffled=2.0, claimed=0, earlier=earlier)


def test_the_stability_gap_is_the_worst_moment_not_the_last() -> None:
    curves = {
        "a": [point(0, general=3.0), point(9, general=3.5)],
        "b": [point(0, general=3.1, a=1.0), point(9, general=3.25, a=2.5), point(18, general=3.0, a=1.25)],
        "c": [point(0, a=1.25, b=2.0), point(9, a=1.5, b=2.0)],
    }
    gap = stability_gap(TASKS, curves)
    assert gap == {"general": 0.5, "a": 1.5, "b": 0.0, "c": None}
    assert stability_gap(("a",), {}) == {"a": None}


def test_capacity_is_what_tasks_took_of_what_was_freed() -> None:
    general = {"x": np.array([True, False, False, False, False]), "y": np.array([True, True])}
    table = CellTable.general(general).claim(1, {"x": np.array([1, 2])}).claim(2, {"x": np.array([4])})
    assert Capacity.of(table) == Capacity(used=0.75, used_by_layer={"x": 0.75, "y": None}, free={"x": 1, "y": 0})
    nothing_freed = CellTable.general({"y": general["y"]})
    assert Capacity.of(nothing_freed).used is None
