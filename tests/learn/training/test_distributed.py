import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

from fmalloc.commands import train as main
from fmalloc.model.text.batches import Batch
from fmalloc.store.store import Store
from fmalloc.training.distributed import Group, processes
from fmalloc_shared.errors import FmallocError
from tests.support import trained_apart
from tests.support.corpora import small_recipe
from tests.support.torchrun import torchrun
from tests.support.training import learned_bytes, write_recipe

# Two processes add the same gradients in another order.
TOLERANCE = 1e-5
# Attention does not depend on the bias of its keys. Its gradient is rounding alone, and Adam makes full steps of that.
WITHOUT_EFFECT = ".k_proj.bias"


@pytest.mark.slow
def test_two_processes_learn_what_one_does(base: Path, corpora: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    two = torchrun([trained_apart.__file__, str(base), str(corpora / "office"), str(tmp_path / "two")])
    trained_apart.main(base, corpora / "office", tmp_path / "one")
    _, errors = two.communicate(timeout=280)
    assert two.returncode == 0, errors
    expected = load_file(tmp_path / "one" / "0-of-1.safetensors")
    first, second = (load_file(tmp_path / "two" / f"{rank}-of-2.safetensors") for rank in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert expected["losses"][-1, 0] < expected["losses"][0, 0] - 0.1
    for name, tensor in first.items():
        if not name.endswith(WITHOUT_EFFECT):
            torch.testing.assert_close(tensor, expected[name], atol=TOLERANCE, rtol=0)


@pytest.mark.slow
def test_the_command_in_two_processes_makes_one_whole_store(base: Path, corpora: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", base, corpora, tmp_path / "store", "office", updates=40)
    checkpoint = tmp_path / "store" / ".work" / "office" / "checkpoint.safetensors"
    interrupted = torchrun(["-m", "fmalloc", "train", str(recipe)])
    errors = _until(interrupted, "update 0: dev")
    interrupted.send_signal(signal.SIGINT)
    errors += interrupted.communicate(timeout=280)[1]
    assert interrupted.returncode != 0
    assert errors.count("interrupted: what was finished is kept") == 1
    assert checkpoint.is_file()
    run = torchrun(["-m", "fmalloc", "train", str(recipe)])
    output, errors = run.communicate(timeout=280)
    assert run.returncode == 0, errors
    assert errors.count("resuming at update") == 1
    store = Store.open(tmp_path / "store")
    store.verify()
    (office,) = store.tasks()
    assert office.curve[-1].nll < office.curve[0].nll - 0.1
    assert output.count("after office") == 1
    assert errors.count("update 20: dev") == 1
    before = learned_bytes(store.path)
    assert CliRunner().invoke(main, [str(recipe)]).exit_code == 0
    assert learned_bytes(store.path) == before


@pytest.mark.slow
def test_two_processes_measure_recover_and_score_what_one_does(base: Path, corpora: Path, tmp_path: Path) -> None:
    content = small_recipe(base, corpora, tmp_path / "one", "office", updates=20).model_dump(
        mode="json", exclude_none=True
    )
    content["recovery"] = {"updates": 5, "batch_tokens": 300}
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content | {"store": str(tmp_path / name)}))
    two = torchrun(["-m", "fmalloc", "train", str(tmp_path / "two.yaml")])
    assert CliRunner().invoke(main, [str(tmp_path / "one.yaml")]).exit_code == 0
    _, errors = two.communicate(timeout=280)
    assert two.returncode == 0, errors
    one, shared = Store.open(tmp_path / "one"), Store.open(tmp_path / "two")
    for layer, values in one.importance().items():
        np.testing.assert_allclose(shared.importance()[layer], values, rtol=1e-9)
    assert shared.description.importance == one.description.importance
    assert shared.description.base_scores == one.description.base_scores
    curves = [[point.nll for point in store.description.recovery.curve] for store in (one, shared)]
    assert curves[1] == pytest.approx(curves[0], abs=1e-2)  # dropout is drawn by each process for its rows
    assert curves[1][0] == curves[0][0]


SHARING = """
from fmalloc.training.distributed import processes
from fmalloc_shared.errors import FmallocError

def work(items):
    if 7 in items:
        raise FmallocError("seven")
    return [item * item for item in items]

with processes() as group:
    for items in ([1, 2, 3, 4, 5], [1], [], [1, 7]):
        try:
            print(f"{items}: {list(group.shared(items, work))}\\n", end="", flush=True)
        except (FmallocError, SystemExit) as error:
            print(f"{items}: {error}\\n", end="", flush=True)
"""


@pytest.mark.slow
def test_what_is_shared_comes_back_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "sharing.py").write_text(SHARING)
    output, errors = torchrun([str(tmp_path / "sharing.py")]).communicate(timeout=280)
    same = ["[1, 2, 3, 4, 5]: [1, 4, 9, 16, 25]", "[1]: [1]", "[]: []"]
    assert sorted(output.splitlines()) == sorted([*same, *same, "[1, 7]: seven", "[1, 7]: 2"]), errors


def _until(run: subprocess.Popen[str], text: str) -> str:
    """What it writes on standard error, up to the line with this text."""
    seen = ""
    assert run.stderr is not None
    for line in run.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(seen)


@pytest.mark.slow
def test_an_error_in_two_processes_is_said_once(base: Path, corpora: Path, store: Store) -> None:
    recipe = write_recipe(store.path.parent / "r.yaml", base, corpora, store.path, "office", seed=7)
    run = torchrun(["-m", "fmalloc", "train", str(recipe)])
    _, errors = run.communicate(timeout=280)
    assert run.returncode != 0
    assert errors.count("task 'office' exists already, learned with seed 1, not 7") == 1
    store.verify()


FAILING = """
from fmalloc.training.distributed import processes
from fmalloc_shared.errors import FmallocError

def fail(wrong):
    if wrong:
        raise FmallocError("bad input")
    return "good"

with processes() as group:
    for failing in ((), (0, 1), (0,), (1,)):
        try:
            print(f"{failing} {group.rank}: {group.alike(lambda: fail(group.rank in failing))}\\n", end="", flush=True)
        except (FmallocError, SystemExit) as error:
            print(f"{failing} {group.rank}: {error}\\n", end="", flush=True)
"""


@pytest.mark.slow
def test_what_every_process_finds_wrong_is_said_by_the_first(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    output, errors = torchrun([str(tmp_path / "failing.py")]).communicate(timeout=280)
    expected = {
        ("()", "0: good", "1: good"),
        ("(0, 1)", "0: bad input", "1: 2"),
        ("(0,)", "0: bad input", "1: 2"),
        ("(1,)", "0: 2", "1: bad input"),
    }
    assert sorted(output.splitlines()) == sorted(f"{f} {line}" for f, *lines in expected for line in lines), errors


def test_rows_are_shared_out_whole_and_once() -> None:
    source = torch.arange(10).reshape(5, 2)
    batch = Batch(source, source + 100, source + 200)
    parts = [Group(rank, 3).rows(batch) for rank in range(3)]
    assert sorted(torch.cat([part.source for part in parts]).tolist()) == source.tolist()
    assert all(torch.equal(part.source + 200, part.target) for part in parts)
    assert len(Group(6, 7).rows(batch).target) == 0
    assert Group().rows(batch) is batch


def test_one_process_alone_asks_nobody() -> None:
    with processes() as group:
        assert (group, group.first, group.largest(3), group.on_first(lambda: "done")) == (Group(), True, 3, "done")
    with pytest.raises(FmallocError, match="wrong"):
        group.fail("wrong")
    with pytest.raises(SystemExit):
        Group(1, 2).fail("wrong")
    assert Group().shared([1, 2], lambda items: [item + 1 for item in items]) == [2, 3]
