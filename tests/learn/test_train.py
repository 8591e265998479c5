"""Whatever ends a run, nothing half-written is kept and nothing good is lost."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from fmalloc.commands import train as main
from fmalloc.store.store import Store
from fmalloc.training.checkpoint import Checkpoint
from tests.support.killing import environment
from tests.support.terminal import Terminal
from tests.support.training import command, learned_bytes, write_recipe


def checkpoint_of(store: Path, task: str = "late") -> Path:
    return store / ".work" / task / "checkpoint.safetensors"


@pytest.fixture
def late(base: Path, corpora: Path, store: Store, tmp_path: Path) -> Path:
    """A recipe whose task `late` comes on top of a learned store."""
    folder = tmp_path / "corpora"
    folder.mkdir()
    for name in ("general", "office", "games"):
        (folder / name).symlink_to(corpora / name)
    (folder / "late").symlink_to(corpora / "games")
    return write_recipe(tmp_path / "r.yaml", base, folder, store.path, "late", updates=40)


def stopped_by(number: int, recipe: Path, store: Path) -> subprocess.CompletedProcess[str]:
    """Run a recipe, and send a signal once its first checkpoint is there."""
    process = subprocess.Popen(
        command(recipe),
        env=environment(FMALLOC_CHECKPOINT_SECONDS="0"),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not checkpoint_of(store).exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stderr=errors)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_stop_saves_and_going_on_ends_with_the_same_bytes(late: Path, store: Store, number: int, code: int) -> None:
    before, head = learned_bytes(store.path), (store.path / "head.json").read_bytes()
    ended = stopped_by(number, late, store.path)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert learned_bytes(store.path) == before
    stopped = Checkpoint.read(checkpoint_of(store.path))
    assert stopped is not None
    assert 0 < stopped.state["update"] < 40
    assert CliRunner().invoke(main, [str(late)]).exit_code == 0
    interrupted = learned_bytes(store.path)
    (store.path / "tasks" / "late").rename(store.path.parent / "aside")
    (store.path / "head.json").write_bytes(head)
    assert CliRunner().invoke(main, [str(late)]).exit_code == 0
    assert learned_bytes(store.path) == interrupted


@pytest.mark.slow
def test_finish_commits_the_best_state_of_what_was_stopped(late: Path, store: Store) -> None:
    nothing = CliRunner().invoke(main, [str(late), "--finish"])
    assert (nothing.exit_code, "task late: no interrupted training" in nothing.output) == (2, True), nothing.output
    terminal = Terminal(*command(late))
    terminal.wait_for("update 20: dev", 250)
    terminal.type("\x03")
    terminal.wait_for("Stop after saving? [Y/n]")
    terminal.type("\n")
    assert terminal.code() == 130, terminal.seen
    other = CliRunner().invoke(main, [str(late), "--finish", "--updates", "60"])
    assert (other.exit_code, "restore them to finish it" in other.output) == (2, True), other.output
    stopped = Checkpoint.read(checkpoint_of(store.path))
    assert stopped is not None
    best = stopped.state["curve"][stopped.state["best"]]
    finished = CliRunner().invoke(main, [str(late), "--finish"])
    assert finished.exit_code == 0, finished.output
    record = Store.open(store.path).task("late")
    assert [point.update for point in record.curve] == [point["update"] for point in stopped.state["curve"]]
    assert record.dev.bleu == best["bleu"]
    assert CliRunner().invoke(main, [str(late)]).exit_code == 0
    Store.open(store.path).verify()


@pytest.mark.slow
def test_a_diverging_task_stops_and_its_last_state_can_be_kept(late: Path, store: Store, tmp_path: Path) -> None:
    """A state that was saved before the loss went wrong is neither overwritten nor lost."""
    stopped_by(signal.SIGTERM, late, store.path)
    path = checkpoint_of(store.path)
    good = Checkpoint.read(path)
    assert good is not None
    # As if the loss had been near 0 at first and was far above chance for a while.
    state = json.loads(json.dumps(good.state)) | {"trend": [0.1, 40.0]}
    Checkpoint(good.tensors, state).write(path)
    before = path.read_bytes()
    result = CliRunner().invoke(main, [str(late)])
    assert result.exit_code == 2, result.output
    assert "training diverges: the mean loss of late is 39" in result.output
    assert "lower learning_rate" in result.output
    assert "--finish" in result.output
    assert path.read_bytes() == before
    assert CliRunner().invoke(main, [str(late), "--finish"]).exit_code == 0
    Store.open(store.path).verify()
