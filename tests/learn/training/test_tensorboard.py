"""TensorBoard's event files, read back by TensorBoard itself."""

import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fmalloc.training.tensorboard import TensorBoardLog
from fmalloc_shared.errors import FmallocError
from tests.support.reports import points_of


def read(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag."""
    events = EventAccumulator(str(run))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_validations_are_scalars_by_update(tmp_path: Path) -> None:
    curve, log = points_of(earlier=["it"]), TensorBoardLog(tmp_path)
    for point in curve:
        log.point(point)
    log.close()
    found = read(tmp_path)
    assert found["dev/bleu"] == [(point.update, pytest.approx(point.bleu)) for point in curve]
    assert found["dev/chrf"] == [(point.update, pytest.approx(point.chrf)) for point in curve]
    assert found["dev/nll_shuffled"] == [(point.update, 5.0) for point in curve]
    assert found["claimed"] == [(point.update, point.claimed) for point in curve]
    assert found["earlier/it"] == [(point.update, 2.0) for point in curve]
    assert found["train/mean_loss"] == [(point.update, 3.5) for point in curve[1:]]


def test_scores_that_were_not_measured_are_left_out(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.point(points_of(bleu=0.0)[-1])
    log.close()
    assert set(read(tmp_path)) == {"dev/nll", "dev/nll_shuffled", "claimed", "train/mean_loss"}


def test_a_resumed_run_takes_back_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    first = TensorBoardLog(tmp_path)
    for update in (1, 2, 3):
        first.step(update, loss=float(update), learning_rate=0.5)
    first.close()
    time.sleep(1.1)  # files are read in the order of their names, which hold the second
    second = TensorBoardLog(tmp_path, resumed_at=2)
    second.step(3, loss=30.0, learning_rate=0.25)
    second.point(points_of(earlier=["it"])[0])
    second.close()
    found = read(tmp_path)
    assert found["train/loss"] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert found["train/learning_rate"] == [(1, 0.5), (2, 0.5), (3, 0.25)]
    assert found["earlier/it"] == [(0, 2.0)]
    time.sleep(1.1)
    TensorBoardLog(tmp_path).close()
    assert not any(read(tmp_path).values())


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmalloc_shared.commands.command.find_spec", lambda _name: None)
    with pytest.raises(FmallocError, match=r"fmalloc\[tensorboard\]"):
        TensorBoardLog(tmp_path / "run")
    assert not (tmp_path / "run").exists()
