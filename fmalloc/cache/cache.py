"""The folder of arrays: each entry appears whole or not at all, and what is damaged is made anew.

An entry is a folder of raw arrays and `entry.json`, which has their digests; every byte is checked before it is used
again. So the whole folder may be deleted at any time.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fmalloc.cache.columns import Draft, Entry, mapped
from fmalloc_shared.commands.outputs import check_folder
from fmalloc_shared.commands.progress import console
from fmalloc_shared.environment import expanded_path
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256, sync_tree, write_atomically
from fmalloc_shared.strict import Count, Digest, StrictModel

FOLDER_VARIABLE, LIMIT_VARIABLE = "FMALLOC_CACHE", "FMALLOC_CACHE_GB"
_DEFAULT_FOLDER, _DEFAULT_LIMIT = "~/.cache/fmalloc", "50"
_RECORD = "entry.json"
# What is made from less text is made again in seconds, and not kept.
WORTH_KEEPING = 1 << 26
_ROOM = 4  # bytes on the disk, at most, per byte of text, while an entry is made


class _Array(StrictModel):
    dtype: Literal["uint8", "uint16", "uint32", "int32", "int64"]
    bytes: Count
    sha256: Digest


class _Record(StrictModel):
    version: Literal[1] = 1
    made_from: dict[str, Any]
    note: dict[str, Any]
    arrays: dict[str, _Array]


Make = Callable[[Draft], Mapping[str, Any]]


@dataclass(frozen=True)
class Cache:
    """Where entries are kept, and their most bytes: the one used longest ago goes first, the newest always stays.

    folder: None keeps nothing. writes: off, what is kept is used, but nothing is changed. smallest: bytes of text from
    which on something is kept.
    """

    folder: Path | None = None
    limit: float = float("inf")
    writes: bool = True
    smallest: int = WORTH_KEEPING

    @classmethod
    def of_environment(cls, *, writes: bool = True) -> "Cache":
        """The one that FMALLOC_CACHE and FMALLOC_CACHE_GB name; an empty FMALLOC_CACHE keeps nothing.

        Raises:
            FmallocError: one of them is no folder, or no number.
        """
        written = os.environ.get(FOLDER_VARIABLE, _DEFAULT_FOLDER)
        size = os.environ.get(LIMIT_VARIABLE, _DEFAULT_LIMIT)
        try:
            folder = expanded_path(written) if written else None
        except ValueError as error:
            raise FmallocError(f"{FOLDER_VARIABLE} {written!r}: {error}; name a folder, or nothing") from error
        try:
            limit = float(size) * 1e9
        except ValueError:
            limit = -1.0
        if not limit >= 0:
            raise FmallocError(f"{LIMIT_VARIABLE} {size!r}: expected a number of gigabytes, such as 50")
        return cls(folder, limit, writes)

    def keeps(self, text_bytes: int) -> bool:
        """Whether what is made from so much text may be kept here."""
        return self.folder is not None and text_bytes >= self.smallest

    def entry(self, kind: str, made_from: Mapping[str, Any], make: Make, *, text_bytes: int) -> Entry:
        """What `make` makes of something, or made before: it fills columns, and returns the note.

        made_from: JSON-able; all that decides what is made, with the version of the code that makes it.

        Raises:
            FmallocError: there is no room, or no right to write.
        """
        if self.folder is None or not self.keeps(text_bytes):
            return _made(make)
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{kind}-{key[:32]}"
        if not self.writes:
            return _read(path, made_from) or _made(make)
        self._check()
        with self._locked():
            if found := _read(path, made_from):
                os.utime(path / _RECORD)
                return found
            shutil.rmtree(path, ignore_errors=True)
            self._check(_ROOM * text_bytes)
            entry = _kept(path, made_from, make)
            self._make_room(path)
            return entry

    def _check(self, room: int = 0) -> None:
        assert self.folder is not None
        try:
            check_folder(self.folder, room)
        except FmallocError as error:
            raise FmallocError(f"{error} ({FOLDER_VARIABLE} names the folder of what is made of large text)") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import filelock  # here, so that help comes at once

        assert self.folder is not None
        self.folder.mkdir(0o700, parents=True, exist_ok=True)  # it holds text
        lock = filelock.FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            console.print(f"{self.folder}: another process is at work there, waiting for it", markup=False)
            lock.acquire()
        try:
            # Whoever holds the lock is alone: what a process that was killed left behind is nobody's.
            for left in self.folder.glob(".*.partial"):
                shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            lock.release()

    def _make_room(self, newest: Path) -> None:
        assert self.folder is not None
        entries = [record.parent for record in self.folder.glob(f"*/{_RECORD}")]
        entries.sort(key=lambda path: (path != newest, -(path / _RECORD).stat().st_mtime))
        total = 0
        for path in entries:
            total += sum(file.stat().st_size for file in path.iterdir())
            if total > self.limit and path != newest:
                shutil.rmtree(path, ignore_errors=True)


NOTHING_KEPT = Cache()


def _made(make: Make) -> Entry:
    with _disk(Path(tempfile.gettempdir())), Draft() as draft:
        return draft.entry(make(draft))


def _kept(path: Path, made_from: Mapping[str, Any], make: Make) -> Entry:
    partial = path.with_name(f".{path.name}.partial")
    partial.mkdir()
    try:
        with _disk(path.parent), Draft(partial) as draft:
            entry = draft.entry(make(draft))
            arrays = {
                name: _Array(dtype=column.dtype.name, bytes=column.bytes, sha256=column.sha256)  # type: ignore[arg-type]
                for name, column in draft.columns.items()
            }
            record = _Record(made_from=dict(made_from), note=dict(entry.note), arrays=arrays)
            write_atomically(partial / _RECORD, record.to_bytes())
            sync_tree(partial)
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return entry


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FmallocError(
            f"{folder}: cannot be written: {error.strerror or error}; make room, or name another folder with "
            f"{FOLDER_VARIABLE}"
        ) from error


def _read(path: Path, made_from: Mapping[str, Any]) -> Entry | None:
    """The entry at `path`, every byte of it checked; None if there is none, or it is damaged."""
    if not path.is_dir():
        return None
    try:
        record = _Record.read(path / _RECORD)
        if record.made_from != json.loads(json.dumps(made_from)):
            raise FmallocError(f"{path / _RECORD}: made from something else")
        arrays = {}
        for name, array in record.arrays.items():
            if sha256(path / name) != array.sha256:
                raise FmallocError(f"{path / name}: its bytes have changed")
            with (path / name).open("rb") as file:
                arrays[name] = mapped(file, np.dtype(array.dtype).newbyteorder("<"))
    except (FmallocError, OSError, ValueError) as error:
        console.print(f"{path}: damaged, made anew ({error})", markup=False)
        return None
    return Entry(arrays, {name: array.sha256 for name, array in record.arrays.items()}, record.note)
