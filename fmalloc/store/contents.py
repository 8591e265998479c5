"""What a memory store holds: its records, cells and tensors, read when they are asked for."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.store.cells import CellTable, Mask
from fmalloc.store.chain.chain import Chain
from fmalloc.store.chain.growth import CELLS_FILE, GROWN, Keys, read_keys
from fmalloc.store.chain.links import STORE_FILE, TASK_FILE, TASKS
from fmalloc.store.chain.parts import RESERVATION_FILE, RESERVED, SHARES_FILE, Shares, read_shares
from fmalloc.store.chain.versions import asked, check_task_name, domain_of, named, number_of
from fmalloc.store.invariants import GENERAL_FILES, PRIVATE_FILE
from fmalloc.store.records import StoreRecord, TaskRecord, read_samples
from fmalloc.store.tensors import Memory, d_model_of, read_general, read_memory, read_private
from fmalloc.store.verification import WORK
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import NgramCounts

# What a work folder of learning begins with.
_SETTINGS = "settings.json"


class Contents:
    """What lies in the store at `path`, whose store.json is `description`. FmallocError where a file is damaged."""

    def __init__(self, path: Path, description: StoreRecord) -> None:
        self.path, self.description = path, description

    @property
    def base(self) -> Path:
        """The folder of the pretrained model."""
        return self.path / "base"

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the feed-forward layers, in order."""
        return tuple(layer.name for layer in self.description.layers)

    def chain(self) -> Chain:
        """All records as they are now; FmallocError unless they fit together."""
        return Chain.read(self.path)

    def tasks(self) -> tuple[TaskRecord, ...]:
        """Records of all learned tasks, in the order of learning."""
        return self.chain().tasks

    def task(self, name: str) -> TaskRecord:
        """The record of a task; raise FmallocError that lists the existing tasks if it does not exist."""
        check_task_name(name)
        tasks = {task.name: task for task in self.tasks()}
        if name not in tasks:
            raise FmallocError(f"{self.path}: no task {name!r}; it holds {', '.join([GENERAL, *tasks])}")
        return tasks[name]

    def served(self) -> tuple[TaskRecord, ...]:
        """Records of the current version of every domain, in the order of learning."""
        chain = self.chain()
        return tuple(task for task in chain.tasks if chain.current[domain_of(task.name)] == task.name)

    def versions(self, domain: str) -> tuple[TaskRecord, ...]:
        """Records of all versions of a domain that are there, by number."""
        found = (task for task in self.tasks() if domain_of(task.name) == domain)
        return tuple(sorted(found, key=lambda task: number_of(task.name)))

    def resolve(self, name: str) -> str:
        """The task that a user's name means: `it` the current version of the domain, `it@1` its first; or general.

        Raises FmallocError that lists what there is.
        """
        domain, number = asked(name)
        if name == GENERAL:
            return GENERAL
        current = self.chain().current
        if number is None and domain in current:
            return current[domain]
        there = [task.name for task in self.versions(domain)]
        if number is not None and (task := named(domain, number)) in there:
            return task
        if not there:
            raise FmallocError(f"{self.path}: no task {domain!r}; it holds {', '.join([GENERAL, *current])}")
        numbers = ", ".join(f"{domain}@{number_of(task)}" for task in there)
        raise FmallocError(f"{self.path}: no version {name!r}; of {domain!r} it has {numbers}")

    def chosen(self, names: Sequence[str]) -> list[str]:
        """The tasks that users name, each once; general and all current versions if none is named.

        Raises FmallocError for unknown ones, and for two versions of a domain: what is made of them has one name.
        """
        found = list(dict.fromkeys(map(self.resolve, names))) or [GENERAL, *(task.name for task in self.served())]
        domains = [domain_of(name) for name in found]
        if twice := next((domain for domain in domains if domains.count(domain) > 1), None):
            raise FmallocError(f"{twice}: two versions at once; name one of them")
        return found

    def unfinished(self) -> tuple[str, ...]:
        """Names of the tasks whose learning was begun and not committed."""
        return tuple(sorted(path.parent.name for path in (self.path / WORK).glob(f"*/{_SETTINGS}")))

    def _task_path(self, name: str) -> Path:
        return self.path / TASKS / check_task_name(name)

    @cached_property
    def d_model(self) -> int:
        """Width of the model: inputs of a cell."""
        return d_model_of(self.base)

    def widths(self, name: str | None = None) -> dict[str, int]:
        """Cells by layer as they were when a task was learned; of `general`, when the store was made; or now.

        A task's model has these widths for ever, so that it is computed alike whatever the store grows by.
        """
        added = 0 if name == GENERAL else self.chain().cells_before(name)
        return {layer.name: layer.width + added for layer in self.description.layers}

    def fresh_keys(self, name: str | None = None) -> Keys:
        """Keys, float32 (n, d_model) by layer, of the cells that the store had grown by when a task was learned.

        Or by now, without a name. Their biases and values are 0.
        """
        added = self.widths(name)[self.layers[0]] - self.description.layers[0].width
        parts: list[Keys] = []
        for number, growth in enumerate(self.chain().growths, start=1):
            if added > 0:
                path = self.path / GROWN / str(number) / CELLS_FILE
                parts.append(read_keys(path, self.layers, growth.cells, self.d_model))
                added -= growth.cells
        none = np.empty((0, self.d_model), dtype=np.float32)
        return {layer: np.concatenate([none, *(part[layer] for part in parts)]) for layer in self.layers}

    def _general(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, Mask]]:
        return read_general(self.path / GENERAL_FILES[0], self.widths(GENERAL))

    def _folder(self, name: str) -> Path:
        """Where the routing counts and samples of a task or of general are."""
        if name == GENERAL:
            return self.path
        self.task(name)
        return self._task_path(name)

    def importance(self) -> dict[str, NDArray[np.float64]]:
        """Importance of every cell of the base by layer, shape (width,)."""
        return self._general()[0]

    def mask(self, name: str) -> dict[str, Mask]:
        """The hard mask of a task, or of general, by layer, of shape (width,) as `widths` has it."""
        if name == GENERAL:
            return self._general()[1]
        return {layer: memory.mask for layer, memory in self.memory(name).items()}

    def memory(self, name: str) -> dict[str, Memory]:
        """What a task holds, by layer."""
        self.task(name)
        return read_memory(self._task_path(name) / "memory.safetensors", self.widths(name), self.d_model)

    def private(self, name: str) -> dict[str, NDArray[np.float32]]:
        """The private parameters of a task by name; none of general and of most tasks."""
        if name == GENERAL or not self.task(name).private:
            return {}
        return read_private(self._task_path(name) / PRIVATE_FILE)

    def routing(self, name: str) -> NgramCounts:
        """Hashed n-gram counts of the domain's source text."""
        return NgramCounts.read(self._folder(name) / "routing.safetensors")

    def samples(self, name: str) -> tuple[Pair, ...]:
        """The dev pairs that the domain keeps."""
        return read_samples(self._folder(name) / "samples.jsonl")

    def digest(self, name: str) -> tuple[str, str | None]:
        """SHA-256 of store.json, and of the task's task.json (None for general)."""
        task = None if name == GENERAL else sha256(self._folder(name) / TASK_FILE)
        return sha256(self.path / STORE_FILE), task

    def cells(self) -> CellTable:
        """The cell table after all tasks; in a part of a divided store, with what is reserved for others."""
        table = CellTable.general(self.mask(GENERAL)).widened(self.widths())
        for task in self.tasks():
            table = table.claim(task.order, {layer: m.cells for layer, m in self.memory(task.name).items()})
        reservation = self.chain().reservation
        return table.reserve(self.shares(), reservation.parts) if reservation else table

    def shares(self) -> Shares:
        """Which cell is in which part, int64 (width,) by layer; FmallocError unless the store is a part of another."""
        reservation = self.chain().reservation
        if reservation is None:
            raise FmallocError(f"{self.path}: is no part of a store: it has no {RESERVED}/{RESERVATION_FILE}")
        return read_shares(self.path / RESERVED / SHARES_FILE, self.widths(), reservation.of)
