"""The folder of arrays: used again, checked, bounded, and never half there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmalloc.cache.cache import FOLDER_VARIABLE, LIMIT_VARIABLE, Cache
from fmalloc.cache.columns import Column, Draft, Entry
from fmalloc_shared.errors import FmallocError


class Maker:
    """Makes one column, and counts how often it was asked to."""

    def __init__(self, values: list[int]) -> None:
        self.values, self.times = values, 0

    def __call__(self, draft: Draft) -> Mapping[str, Any]:
        self.times += 1
        column = draft.column("a", "int64")
        for value in self.values:
            column.append([value])
        return {"count": len(self.values)}


def entry(cache: Cache, maker: Maker, made_from: int = 1) -> Entry:
    return cache.entry("numbers", {"from": made_from}, maker, text_bytes=10)


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("numbers-*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> Cache:
    return Cache(folder, smallest=0)


def test_what_was_made_is_used_again(cache: Cache, folder: Path) -> None:
    maker = Maker([3, 1, 2])
    for _ in range(2):
        found = entry(cache, maker)
        assert found.arrays["a"].tolist() == [3, 1, 2]
        assert found.note == {"count": 3}
    assert maker.times == 1
    assert entry(cache, Maker([7]), made_from=2).arrays["a"].tolist() == [7]
    assert len(kept(folder)) == 2


def test_the_arrays_are_mapped_from_files_and_cannot_be_written(cache: Cache) -> None:
    entry(cache, Maker([3]))
    array = entry(cache, Maker([3])).arrays["a"]
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path / "a"),
        lambda path: (path / "a").write_bytes((path / "a").read_bytes()[:-8]),
        lambda path: (path / "a").unlink(),
        lambda path: (path / "entry.json").write_text("{}"),
        lambda path: (path / "entry.json").unlink(),
        lambda path: flip(path / "entry.json"),
    ],
)
def test_damage_is_noticed_and_mended(
    cache: Cache, folder: Path, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = Maker([3, 1, 2])
    entry(cache, maker)
    damage(*kept(folder))
    assert entry(cache, maker).arrays["a"].tolist() == [3, 1, 2]
    assert maker.times == 2
    assert "damaged, made anew" in capsys.readouterr().err
    entry(cache, maker)
    assert maker.times == 2


def test_an_entry_of_something_else_is_not_trusted(cache: Cache, folder: Path) -> None:
    entry(cache, Maker([3]))
    entry(cache, Maker([7]), made_from=2)
    first, second = kept(folder)
    held = {path: (path / "a").read_bytes() for path in (first, second)}
    for file in ("a", "entry.json"):
        data = (first / file).read_bytes()
        (first / file).write_bytes((second / file).read_bytes())
        (second / file).write_bytes(data)
    entry(cache, Maker([3]))
    entry(cache, Maker([7]), made_from=2)
    assert {path: (path / "a").read_bytes() for path in (first, second)} == held


def test_without_writing_nothing_appears(folder: Path) -> None:
    reader, maker = Cache(folder, writes=False, smallest=0), Maker([3])
    assert entry(reader, maker).arrays["a"].tolist() == [3]
    assert not folder.exists()
    entry(Cache(folder, smallest=0), maker)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert entry(reader, maker).arrays["a"].tolist() == [3]
    assert maker.times == 2
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_little_text_is_not_kept(folder: Path) -> None:
    assert entry(Cache(folder), Maker([3])).arrays["a"].tolist() == [3]
    assert not folder.exists()


def test_what_fails_leaves_nothing(cache: Cache, folder: Path) -> None:
    def fails(draft: Draft) -> Mapping[str, Any]:
        draft.column("a", "int64").append([1])
        raise FmallocError("no")

    with pytest.raises(FmallocError, match="no"):
        cache.entry("numbers", {}, fails, text_bytes=10)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_the_one_used_longest_ago_goes_first(folder: Path) -> None:
    cache = Cache(folder, limit=2500, smallest=0)
    for number in (1, 2, 3):
        entry(cache, Maker([number] * 100), number)
        for path in kept(folder):
            status = (path / "entry.json").stat()
            os.utime(path / "entry.json", ns=(status.st_atime_ns, status.st_mtime_ns - 10**9))
        entry(cache, Maker([1] * 100), 1)
    makers = [Maker([number] * 100) for number in (3, 1, 2)]
    for maker in makers:
        entry(cache, maker, maker.values[0])
    assert [maker.times for maker in makers] == [0, 0, 1]


def test_the_newest_stays_whatever_its_size(folder: Path) -> None:
    cache = Cache(folder, limit=0, smallest=0)
    entry(cache, Maker([1]), 1)
    entry(cache, Maker([2]), 2)
    assert len(kept(folder)) == 1


KILLED = """
import sys, time
from pathlib import Path
from fmalloc.cache.cache import Cache
def make(draft):
    draft.column("a", "int64").append([1] * 100000)
    print("begun", flush=True)
    time.sleep(60)
    return {}
Cache(Path(sys.argv[1]), smallest=0).entry("numbers", {"from": 1}, make, text_bytes=10)
"""


def test_a_killed_process_leaves_nothing_that_is_trusted(cache: Cache, folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGKILL)
    assert kept(folder) == []
    assert list(folder.glob(".*.partial"))
    assert entry(cache, Maker([3])).arrays["a"].tolist() == [3]
    assert not list(folder.glob(".*.partial"))


def test_one_process_at_a_time(cache: Cache, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = KILLED.replace("60", "2") + "print('done', time.time(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        maker = Maker([9])
        found = entry(cache, maker)
        waited = time.time()
        ended = float(process.stdout.readline().split()[1])
    assert maker.times == 0
    assert len(found.arrays["a"]) == 100000
    assert waited >= ended - 1
    assert "another process is at work there" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["much", "-1", "nan"])
def test_the_limit_is_a_number(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, size)
    with pytest.raises(FmallocError, match=f"{LIMIT_VARIABLE} '{size}': expected a number of gigabytes"):
        Cache.of_environment()


def test_the_folder_is_set_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEWHERE", str(tmp_path))
    monkeypatch.setenv(FOLDER_VARIABLE, "$SOMEWHERE/cache")
    monkeypatch.setenv(LIMIT_VARIABLE, "2.5")
    assert Cache.of_environment() == Cache(tmp_path / "cache", 2.5e9)
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    assert not Cache.of_environment().keeps(10**12)
    monkeypatch.setenv(FOLDER_VARIABLE, "$NOWHERE/cache")
    with pytest.raises(FmallocError, match="NOWHERE is not set"):
        Cache.of_environment()


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FmallocError, match="file is no folder"):
        entry(Cache(tmp_path / "file" / "cache", smallest=0), Maker([1]))


def test_a_large_column_leaves_memory(tmp_path: Path) -> None:
    column = Column("int64", folder=tmp_path)
    for _ in range(5):
        column.append(np.arange(1 << 20))
    array = column.array()
    column.close()
    assert isinstance(array, np.memmap)
    assert np.array_equal(array, np.tile(np.arange(1 << 20), 5))
    assert list(tmp_path.iterdir()) == []
