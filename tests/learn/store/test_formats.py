"""What older programs wrote is read for ever: a store of each version of the format, and a bundle."""

import json
import tarfile
from pathlib import Path

import pytest

from fmalloc.model.assembly import load_sliced
from fmalloc.store.store import Store
from tests.support import ROOT
from tests.support.lifecycle import learn, run

FORMATS = ROOT / "tests" / "formats"
STORES = sorted(path.name for path in FORMATS.glob("store-*.tar.xz"))


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(FORMATS / name) as archive:
        archive.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


def test_there_is_one_of_each_version() -> None:
    assert [f"store-{version}.tar.xz" for version in (1, 2, 3, 4)] == STORES
    assert [*FORMATS.glob("bundle-*.tar.xz")] == [FORMATS / "bundle-1.tar.xz"]


@pytest.mark.parametrize("name", STORES)
def test_a_store_is_read_checked_and_learned_on(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path / "old")
    code, output = run("verify", path)
    assert code == 0, output
    version = int(name.removeprefix("store-").partition(".")[0])
    store = Store.open(path)
    assert {task.version for task in store.tasks()} == {min(version, 3)}
    names = [task["name"] for task in json.loads(run("status", path, "--json")[1])["tasks"]]
    assert len(names) == 3 + (version > 3)
    for task in store.tasks():
        load_sliced(store, task.name)
    head = store.chain().head
    learn(store, "more", cells=0)
    assert run("grow", path, "--cells", "4")[0] == 0
    assert run("free", path, "more", "--yes")[0] == 0
    code, output = run("verify", path)
    assert code == 0, output
    assert head in Store.open(path).chain().heads


def test_a_bundle_is_read_and_translates_as_it_did(tmp_path: Path) -> None:
    code, output = run("verify", unpacked("bundle-1.tar.xz", tmp_path / "old"))
    assert code == 0 and "translations as they were at export" in output, output
