"""The memory store: an immutable base and general mask, and append-only tasks. numpy and safetensors only."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.store.cells import Cells, CellTable, Mask
from fmalloc.store.records import StoreRecord, TaskRecord, read_samples
from fmalloc.store.tensors import Memory, read_importance, read_tensors
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256, sha256_files, sync_directory, sync_tree, verify_files, write_atomically
from fmalloc_shared.names import GENERAL, check_name
from fmalloc_shared.ngrams import NgramCounts

PRIVATE_FILE = "private.safetensors"
_GENERAL_FILES = ("general.safetensors", "routing.safetensors", "samples.jsonl")
_ROOT_ENTRIES = {"store.json", "base", "tasks", ".work", ".lock", *_GENERAL_FILES}


class Store:
    """A memory store on disk; `open` an existing one or `create` one from a prepared folder."""

    def __init__(self, path: Path, description: StoreRecord) -> None:
        self.path, self.description = path, description

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Read store.json; raise FmallocError if `path` is not a store of this version."""
        if not cls.exists(path):
            raise FmallocError(f"{path / 'store.json'}: no such file; is {path} a memory store?")
        return cls(path, StoreRecord.read(path / "store.json"))

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether a store was completely created at `path`."""
        return (path / "store.json").is_file()

    @classmethod
    def create(cls, path: Path, prepared: Path, **description: Any) -> "Store":
        """Move the base and general files from `prepared` (below `path`) into place; store.json comes last."""
        record = StoreRecord(files=sha256_files(prepared), **description)
        sync_tree(prepared)
        for entry in ("base", *_GENERAL_FILES):
            destination = path / entry
            if destination.is_dir():
                shutil.rmtree(destination)
            (prepared / entry).replace(destination)
        (path / "tasks").mkdir(exist_ok=True)
        sync_directory(path)
        write_atomically(path / "store.json", record.to_bytes())
        return cls(path, record)

    @property
    def base(self) -> Path:
        """The folder of the pretrained model."""
        return self.path / "base"

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the feed-forward layers, in order."""
        return tuple(layer.name for layer in self.description.layers)

    def verify(self) -> None:
        """Hash everything again; raise FmallocError naming each missing, changed or unexpected file."""
        unexpected = sorted(entry.name for entry in self.path.iterdir() if entry.name not in _ROOT_ENTRIES)
        if unexpected:
            raise FmallocError(f"{self.path}: unexpected {', '.join(unexpected)}")
        for file, digest in self.description.files.items():
            if not (self.path / file).is_file():
                raise FmallocError(f"{self.path / file}: missing")
            if (found := sha256(self.path / file)) != digest:
                raise FmallocError(f"{self.path / file}: sha256 is {found}, expected {digest}")
        listed = {f.removeprefix("base/"): d for f, d in self.description.files.items() if f.startswith("base/")}
        verify_files(self.base, listed)
        for task in self.tasks():
            verify_files(self._task_path(task.name), task.files, besides=frozenset({"task.json"}))

    def tasks(self) -> tuple[TaskRecord, ...]:
        """Records of all learned tasks, in the order of learning."""
        folder = self.path / "tasks"
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
        records = [self._read_task(name) for name in names]
        return tuple(sorted(records, key=lambda record: record.order))

    def _read_task(self, name: str) -> TaskRecord:
        path = self._task_path(name) / "task.json"
        record = TaskRecord.read(path)
        if record.name != name:
            raise FmallocError(f"{path}: name is {record.name!r}, expected {name!r}")
        if bool(record.private) != (PRIVATE_FILE in record.files):
            raise FmallocError(
                f"{path}: private is {record.private}, but files {'lack' if record.private else 'list'} {PRIVATE_FILE}"
            )
        return record

    def task(self, name: str) -> TaskRecord:
        """The record of a task; raise FmallocError that lists the existing tasks if it does not exist."""
        if not (self._task_path(name) / "task.json").is_file():
            known = ", ".join([GENERAL, *(task.name for task in self.tasks())])
            raise FmallocError(f"{self.path}: no task {name!r}; it holds {known}")
        return self._read_task(name)

    def _task_path(self, name: str) -> Path:
        return self.path / "tasks" / check_name(name)

    def _folder(self, name: str) -> Path:
        """Where the routing counts and samples of a task or of general are."""
        if name == GENERAL:
            return self.path
        self.task(name)
        return self._task_path(name)

    def importance(self) -> dict[str, NDArray[np.float64]]:
        """Importance of every cell by layer, shape (width,)."""
        return read_importance(self.path / "general.safetensors")

    def mask(self, name: str) -> dict[str, Mask]:
        """The hard mask of a task, or of general, by layer, shape (width,)."""
        if name == GENERAL:
            tensors = read_tensors(self.path / "general.safetensors")
            return {layer: tensors[f"{layer}.mask"] for layer in self.layers}
        return {layer: memory.mask for layer, memory in self.memory(name).items()}

    def memory(self, name: str) -> dict[str, Memory]:
        """What a task holds, by layer."""
        self.task(name)
        path = self._task_path(name) / "memory.safetensors"
        tensors = read_tensors(path)
        expected = {f"{layer}.{field}" for layer in self.layers for field in Memory.__dataclass_fields__}
        if set(tensors) != expected:
            raise FmallocError(f"{path}: tensors differ from those expected: {sorted(set(tensors) ^ expected)[:5]}")
        return {
            layer: Memory(**{field: tensors[f"{layer}.{field}"] for field in Memory.__dataclass_fields__})
            for layer in self.layers
        }

    def private(self, name: str) -> dict[str, NDArray[np.float32]]:
        """The private parameters of a task by name; none of general and of most tasks."""
        if name == GENERAL or not self.task(name).private:
            return {}
        return read_tensors(self._task_path(name) / PRIVATE_FILE)

    def routing(self, name: str) -> NgramCounts:
        """Hashed n-gram counts of the domain's source text."""
        return NgramCounts.read(self._folder(name) / "routing.safetensors")

    def samples(self, name: str) -> tuple[Pair, ...]:
        """The dev pairs that the domain keeps."""
        return read_samples(self._folder(name) / "samples.jsonl")

    def digest(self, name: str) -> tuple[str, str | None]:
        """SHA-256 of store.json, and of the task's task.json (None for general)."""
        task = None if name == GENERAL else sha256(self._folder(name) / "task.json")
        return sha256(self.path / "store.json"), task

    def cells(self) -> CellTable:
        """The cell table after all tasks."""
        table = CellTable.general(self.mask(GENERAL))
        for task in self.tasks():
            table = table.claim(task.order, {layer: m.cells for layer, m in self.memory(task.name).items()})
        return table

    def commit(self, staged: Path, **task: Any) -> TaskRecord:
        """Complete the folder `staged` (below .work) with its task.json and rename it into place, whole."""
        record = TaskRecord(files=sha256_files(staged), **task)
        destination = self._task_path(record.name)
        if destination.exists():
            raise FmallocError(f"{destination}: this task exists already and is never rewritten")
        self.cells().claim(record.order, _owned_cells(staged, self.layers))
        write_atomically(staged / "task.json", record.to_bytes())
        sync_tree(staged)
        staged.rename(destination)
        sync_directory(destination.parent)
        return record


def _owned_cells(staged: Path, layers: tuple[str, ...]) -> dict[str, Cells]:
    tensors = read_tensors(staged / "memory.safetensors")
    return {layer: tensors[f"{layer}.cells"] for layer in layers}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the lock of the store at `path`; the operating system frees it when the process dies."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path / ".lock", blocking=False):
            yield
    except filelock.Timeout as error:
        raise FmallocError(f"{path}: another process is writing this store; wait for it to end") from error
