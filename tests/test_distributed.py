import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import small_recipe
from killing import environment
from safetensors.torch import load_file
from test_train_command import learned_bytes, write_recipe
from torchrun import torchrun

from fmalloc.batches import Batch
from fmalloc.distributed import Group, processes
from fmalloc.store import Store
from fmalloc.train import main
from fmalloc_shared.errors import FmallocError

SCRIPT = str(Path(__file__).with_name("trained_apart.py"))
# Two processes add the same gradients in another order.
TOLERANCE = 1e-5
# Attention does not depend on the bias of its keys. Its gradient is rounding alone, and Adam makes full steps of that.
WITHOUT_EFFECT = ".k_proj.bias"


def test_two_processes_learn_what_one_does(base: Path, corpora: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    arguments = [SCRIPT, str(base), str(corpora / "office")]
    one = [sys.executable, *arguments, str(tmp_path / "one")]
    subprocess.run(one, env=environment(), check=True, capture_output=True)
    two = torchrun([*arguments, str(tmp_path / "two")])
    _, errors = two.communicate(timeout=280)
    assert two.returncode == 0, errors
    expected = load_file(tmp_path / "one" / "0-of-1.safetensors")
    first, second = (load_file(tmp_path / "two" / f"{rank}-of-2.safetensors") for rank in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert expected["losses"][-1, 0] < expected["losses"][0, 0] - 0.1
    for name, tensor in first.items():
        if not name.endswith(WITHOUT_EFFECT):
            torch.testing.assert_close(tensor, expected[name], atol=TOLERANCE, rtol=0)


def test_the_command_in_two_processes_makes_one_whole_store(base: Path, corpora: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", base, corpora, tmp_path / "store", "office", updates=40)
    run = torchrun(["-m", "fmalloc.train", str(recipe)])
    output, errors = run.communicate(timeout=280)
    assert run.returncode == 0, errors
    store = Store.open(tmp_path / "store")
    store.verify()
    (office,) = store.tasks()
    assert office.curve[-1].nll < office.curve[0].nll - 0.1
    assert output.count("after office") == 1
    assert errors.count("update 20: dev") == 1
    before = learned_bytes(store.path)
    assert CliRunner().invoke(main, [str(recipe)]).exit_code == 0
    assert learned_bytes(store.path) == before


def test_an_error_in_two_processes_is_said_once(base: Path, corpora: Path, store: Store) -> None:
    recipe = write_recipe(store.path.parent / "r.yaml", base, corpora, store.path, "office", seed=7)
    run = torchrun(["-m", "fmalloc.train", str(recipe)])
    _, errors = run.communicate(timeout=280)
    assert run.returncode != 0
    assert errors.count("task 'office' exists already, learned with seed 1, not 7") == 1
    store.verify()


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


def test_methods_without_a_store_refuse_several_processes(
    base: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(base, corpora, tmp_path / "store", "office").model_copy(update={"method": "sequential"})
    (tmp_path / "r.yaml").write_text(recipe.model_dump_json(exclude_none=True))
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(main, [str(tmp_path / "r.yaml")])
    assert (result.exit_code, "nor run in several processes" in result.output) == (2, True), result.output
