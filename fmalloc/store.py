"""The memory store: an immutable base and general mask, and append-only tasks. numpy and safetensors only."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import filelock
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from fmalloc.cells import Cells, CellTable, Mask
from fmalloc.corpus import Pair
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import (
    sha256,
    sha256_files,
    sync_directory,
    sync_tree,
    verify_files,
    write_atomically,
)
from fmalloc_shared.names import GENERAL, check_name
from fmalloc_shared.ngrams import NgramCounts

VERSION = 1
_GENERAL_FILES = ("general.safetensors", "routing.safetensors", "samples.jsonl")
_ROOT_ENTRIES = {"store.json", "base", "tasks", ".work", ".lock", *_GENERAL_FILES}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Score(_Record):
    """Corpus BLEU and chrF, 0 to 100."""

    bleu: float
    chrf: float


class Scores(_Record):
    """Scores by domain, with sacreBLEU's signatures."""

    domains: dict[str, Score]
    signatures: dict[str, str]


class LanguagePair(_Record):
    """Language codes as the base's tokenizer knows them."""

    source: str
    target: str


class Layer(_Record):
    """A feed-forward layer and its number of cells."""

    name: str
    width: int


class ImportanceRecord(_Record):
    """How cell importance was measured."""

    batches: int
    batch_tokens: int
    seed: int
    rank_correlation: float
    dead_cells: dict[str, int]


class StoreRecord(_Record):
    """store.json, see docs/formats.md."""

    version: Literal[1] = 1
    family: str
    languages: LanguagePair
    layers: list[Layer]
    sparsity: float
    importance: ImportanceRecord
    base_scores: Scores
    general_scores: Scores
    files: dict[str, str]


class DataRecord(_Record):
    """The pairs of one part of a corpus, as used."""

    pairs: int
    sha256: str


class CurvePoint(_Record):
    """One validation during learning, under the hard mask."""

    update: int
    bleu: float
    chrf: float
    nll: float
    nll_shuffled: float
    claimed: int


class TaskRecord(_Record):
    """task.json, see docs/formats.md."""

    version: Literal[1] = 1
    name: str
    order: int
    reads: list[str]
    settings: dict[str, Any]
    data: dict[str, DataRecord]
    scores: Scores
    dev: Score
    curve: list[CurvePoint]
    files: dict[str, str]


@dataclass(frozen=True)
class Memory:
    """What a task holds of one layer.

    mask: (width,), the hard mask. cells: (k,) ids of owned cells, ascending. fc1_weight: (k, d_model), fc1_bias: (k,),
    fc2_weight: (d_model, k), float32, the owned cells' weights.
    """

    mask: Mask
    cells: Cells
    fc1_weight: NDArray[np.float32]
    fc1_bias: NDArray[np.float32]
    fc2_weight: NDArray[np.float32]


_RecordType = TypeVar("_RecordType", bound=_Record)


def _read_record(path: Path, kind: type[_RecordType]) -> _RecordType:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise FmallocError(f"{path}: no such file; is {path.parent} a memory store?") from error
    except ValueError as error:
        raise FmallocError(f"{path}: not JSON: {error}") from error
    if isinstance(content, dict) and content.get("version") != VERSION:
        raise FmallocError(f"{path}: version {content.get('version')!r}, this program reads version {VERSION}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FmallocError(f"{path}: {problems}") from error


def to_json(record: BaseModel) -> bytes:
    """A record as UTF-8 JSON with sorted keys."""
    return (json.dumps(record.model_dump(), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise FmallocError(f"{path}: cannot be read: {error}") from error


def read_samples(path: Path) -> tuple[Pair, ...]:
    """The pairs of a samples.jsonl file."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            content = json.loads(line)
            pairs.append(Pair(content["source"], content["target"]))
        except (ValueError, KeyError, TypeError) as error:
            raise FmallocError(f'{path}:{number}: expected {{"source": …, "target": …}}: {line[:80]!r}') from error
    return tuple(pairs)


def samples_bytes(pairs: tuple[Pair, ...]) -> bytes:
    """The content of a samples.jsonl file."""
    lines = (json.dumps(pair._asdict(), sort_keys=True, ensure_ascii=False) for pair in pairs)
    return "".join(f"{line}\n" for line in lines).encode()


def memory_bytes(memories: Mapping[str, Memory]) -> bytes:
    """The content of a memory.safetensors file."""
    tensors = {
        f"{layer}.{field}": np.ascontiguousarray(getattr(memory, field))
        for layer, memory in memories.items()
        for field in Memory.__dataclass_fields__
    }
    return bytes(save(tensors, metadata={"version": str(VERSION)}))


def general_bytes(importance: Mapping[str, NDArray[np.float64]], masks: Mapping[str, Mask]) -> bytes:
    """The content of a general.safetensors file."""
    tensors: dict[str, NDArray[Any]] = {f"{layer}.importance": values for layer, values in importance.items()}
    tensors |= {f"{layer}.mask": mask for layer, mask in masks.items()}
    return bytes(save(tensors, metadata={"version": str(VERSION)}))


def read_importance(path: Path) -> dict[str, NDArray[np.float64]]:
    """Importance by layer from a general.safetensors file."""
    ending = ".importance"
    return {n.removesuffix(ending): tensor for n, tensor in _read_tensors(path).items() if n.endswith(ending)}


class Store:
    """A memory store on disk; `open` an existing one or `create` one from a prepared folder."""

    def __init__(self, path: Path, description: StoreRecord) -> None:
        self.path, self.description = path, description

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Read store.json; raise FmallocError if `path` is no store of this version."""
        return cls(path, _read_record(path / "store.json", StoreRecord))

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
        write_atomically(path / "store.json", to_json(record))
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
        record = _read_record(self._task_path(name) / "task.json", TaskRecord)
        if record.name != name:
            raise FmallocError(f"{self._task_path(name) / 'task.json'}: name is {record.name!r}, expected {name!r}")
        return record

    def task(self, name: str) -> TaskRecord:
        """The record of a task; raise FmallocError that lists the tasks if there is none of that name."""
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
            tensors = _read_tensors(self.path / "general.safetensors")
            return {layer: tensors[f"{layer}.mask"] for layer in self.layers}
        return {layer: memory.mask for layer, memory in self.memory(name).items()}

    def memory(self, name: str) -> dict[str, Memory]:
        """What a task holds, by layer."""
        self.task(name)
        path = self._task_path(name) / "memory.safetensors"
        tensors = _read_tensors(path)
        expected = {f"{layer}.{field}" for layer in self.layers for field in Memory.__dataclass_fields__}
        if set(tensors) != expected:
            raise FmallocError(f"{path}: tensors differ from those expected: {sorted(set(tensors) ^ expected)[:5]}")
        return {
            layer: Memory(**{field: tensors[f"{layer}.{field}"] for field in Memory.__dataclass_fields__})
            for layer in self.layers
        }

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
            raise FmallocError(f"{destination}: this task exists already and is never written again")
        self.cells().claim(record.order, _owned_cells(staged, self.layers))
        write_atomically(staged / "task.json", to_json(record))
        sync_tree(staged)
        staged.rename(destination)
        sync_directory(destination.parent)
        return record


def _owned_cells(staged: Path, layers: tuple[str, ...]) -> dict[str, Cells]:
    tensors = _read_tensors(staged / "memory.safetensors")
    return {layer: tensors[f"{layer}.cells"] for layer in layers}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Be the only writer of the store at `path`; a dead process holds no lock."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path / ".lock", blocking=False):
            yield
    except filelock.Timeout as error:
        raise FmallocError(f"{path}: another process is writing this store; wait for it to end") from error
