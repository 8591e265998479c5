import json
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from fmalloc.store.store import Store, writing
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files, write_atomically
from tests.support.stores import LAYERS, PAIRS, WIDTH, commit, write_store


def test_a_learned_store_verifies_and_lists_its_tasks_in_order(store: Store) -> None:
    store.verify()
    assert [(task.name, task.order) for task in store.tasks()] == [("office", 1), ("games", 2)]


def test_owned_cells_are_on_and_have_one_owner(store: Store) -> None:
    table = store.cells()
    for task in store.tasks():
        for layer, memory in store.memory(task.name).items():
            assert memory.mask[memory.cells].all()
            assert not store.mask("general")[layer][memory.cells].any()
            assert (table.owners[layer][memory.cells] == task.order).all()


@pytest.mark.parametrize(
    "file",
    ["general.safetensors", "base/config.json", "base/model.safetensors", "tasks/office/memory.safetensors"],
)
def test_one_changed_byte_is_found(store: Store, file: str) -> None:
    path = store.path / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FmallocError, match=f"{file}: sha256 is"):
        store.verify()


def test_missing_and_unexpected_files_are_found(store: Store) -> None:
    (store.path / "tasks/office/notes.txt").write_text("mine")
    with pytest.raises(FmallocError, match="notes.txt: not listed"):
        store.verify()
    (store.path / "tasks/office/notes.txt").unlink()
    (store.path / "tasks/office/routing.safetensors").unlink()
    with pytest.raises(FmallocError, match="routing.safetensors: missing"):
        store.verify()


def test_another_version_is_refused(store: Store) -> None:
    content = json.loads((store.path / "store.json").read_text())
    write_atomically(store.path / "store.json", json.dumps(content | {"version": 7}).encode())
    with pytest.raises(FmallocError, match="version 7, this program reads version 1 and 2"):
        Store.open(store.path)


def test_an_unknown_key_is_refused(store: Store) -> None:
    content = json.loads((store.path / "store.json").read_text())
    write_atomically(store.path / "store.json", json.dumps(content | {"colour": 1}).encode())
    with pytest.raises(FmallocError, match=r"store\.json: colour: Extra inputs"):
        Store.open(store.path)


@pytest.mark.parametrize("name", ["../x", "/etc", "", "A", "x" * 64, ".work", "a/b"])
def test_a_name_is_checked_before_it_is_a_path(store: Store, name: str) -> None:
    with pytest.raises(FmallocError, match="domain name"):
        store.task(name)


def test_an_unknown_task_lists_the_known_ones(store: Store) -> None:
    with pytest.raises(FmallocError, match="no task 'law'; it holds general, office, games"):
        store.memory("law")


def test_a_task_is_never_written_again(store: Store, tmp_path: Path) -> None:
    before = sha256_files(store.path / "tasks")
    staged = tmp_path / "staged"
    shutil.copytree(store.path / "tasks/office", staged)
    (staged / "task.json").unlink()
    record = store.task("office")
    fields = record.model_dump(exclude={"version", "files", "previous"})
    with pytest.raises(FmallocError, match="exists already"):
        store.commit(staged, **fields)
    with pytest.raises(FmallocError, match="owned already"):
        store.commit(staged, **(fields | {"name": "other"}))
    assert sha256_files(store.path / "tasks") == before


def test_two_writers_are_kept_apart_by_a_lock_that_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from fmalloc.store.store import writing\n"
        "with writing(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FmallocError, match="another process is writing"), writing(tmp_path):
        raise AssertionError("two writers")
    holder.kill()
    holder.wait()
    holder.stdout.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with writing(tmp_path):
                return
        except FmallocError:
            time.sleep(0.05)
    raise AssertionError("the lock outlived its process")


@pytest.mark.parametrize("replace", [False, True])
def test_a_writer_whose_lock_was_removed_commits_nothing(tmp_path: Path, replace: bool) -> None:
    store = write_store(tmp_path / "store")
    before = sha256_files(store.path / "tasks")
    masks = {layer: np.zeros(WIDTH, dtype=np.bool_) for layer in LAYERS}
    none = {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}
    with writing(store.path):
        (store.path / ".lock").unlink()
        with writing(store.path) if replace else nullcontext():
            pass  # another writer was let in meanwhile
        with pytest.raises(FmallocError, match=r"\.lock: was removed or replaced.*nothing was committed"):
            commit(store, "more", masks, none, PAIRS, seed=4)
    assert sha256_files(store.path / "tasks") == before
    store.verify()
    with writing(store.path):
        shutil.rmtree(store.path / ".work")
        commit(store, "more", masks, none, PAIRS, seed=4)
    assert [task.name for task in store.tasks()] == ["it", "odd", "late", "more"]


def test_a_lock_that_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / ".lock").symlink_to("mine")
    with pytest.raises(FmallocError, match=r"\.lock: expected a plain file"), writing(tmp_path):
        raise AssertionError("followed")
    assert (tmp_path / "mine").read_text() == "precious"


def test_memories_keep_dtypes_and_shapes(store: Store) -> None:
    for memory in store.memory("games").values():
        count = len(memory.cells)
        assert memory.fc1_weight.shape == (count, 32)
        assert memory.fc1_bias.shape == (count,)
        assert memory.fc2_weight.shape == (32, count)
        assert {a.dtype for a in (memory.fc1_weight, memory.fc1_bias, memory.fc2_weight)} == {np.dtype(np.float32)}
