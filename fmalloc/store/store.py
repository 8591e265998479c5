"""The memory store: an immutable base and general mask, and append-only records. numpy and safetensors only."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fmalloc.store.chain.chain import Chain
from fmalloc.store.chain.growth import (
    CELLS_FILE,
    GROWN,
    GROWTH_FILE,
    GrowthRecord,
    draw_keys,
    keys_bytes,
)
from fmalloc.store.chain.links import HEAD_FILE, STORE_FILE, TASK_FILE, TASKS
from fmalloc.store.chain.parts import (
    MERGED,
    RESERVATION_FILE,
    RESERVED,
    SHARES_FILE,
    MergeRecord,
    ReservationRecord,
    Shares,
    shares_bytes,
)
from fmalloc.store.chain.versions import CURRENT, CurrentRecord, domain_of
from fmalloc.store.contents import Contents
from fmalloc.store.invariants import GENERAL_FILES
from fmalloc.store.records import HeadRecord, StoreRecord, TaskRecord
from fmalloc.store.tensors import read_memory
from fmalloc.store.verification import WORK, check_content, check_files
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_lock, locked, sha256, sha256_files, sync_directory, sync_tree, write_atomically

# Digests of files up to this size are compared whenever a store is opened.
_SMALL = 2**20


class Store(Contents):
    """A memory store on disk; `open` an existing one or `create` one from a prepared folder.

    All that writes needs the store's lock (`writing`).
    """

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Read all records, and compare the digests of small files.

        Raises FmallocError if `path` is not a store of a known version, or one of those was changed.
        """
        if not cls.exists(path):
            raise FmallocError(f"{path / STORE_FILE}: no such file; is {path} a memory store?")
        chain = Chain.read(path)
        check_files(chain, most=_SMALL)
        return cls(path, chain.store)

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether a store was completely created at `path`; whatever has the name of its record counts."""
        return os.path.lexists(path / STORE_FILE)

    @classmethod
    def create(cls, path: Path, prepared: Path, **description: Any) -> "Store":
        """Move the base and general files from `prepared` (below `path`) into place; store.json comes last."""
        record = StoreRecord(files=sha256_files(prepared), **description)
        sync_tree(prepared)
        for entry in ("base", *GENERAL_FILES):
            destination = path / entry
            if destination.is_dir():
                shutil.rmtree(destination)
            (prepared / entry).replace(destination)
        (path / TASKS).mkdir(exist_ok=True)
        sync_directory(path)
        check_lock(path)
        content = record.to_bytes()
        head = HeadRecord(tasks=0, head=hashlib.sha256(content).hexdigest(), links=[])
        write_atomically(path / HEAD_FILE, head.to_bytes())
        write_atomically(path / STORE_FILE, content)
        return cls(path, record)

    def verify(self) -> int:
        """Read everything: every digest, and every invariant of the format; returns the number of files.

        Raises FmallocError naming, by file and value, all that is missing, changed, unexpected or does not fit.
        """
        chain = self.chain()
        count = check_files(chain)
        check_content(chain)
        return count

    def state_head(self) -> None:
        """Let head.json name the head, which a store of version 1, and one whose last commit was stopped, lacks."""
        check_lock(self.path)
        self.chain().state_head()

    def choose(self, name: str, *, hold: bool = False) -> None:
        """Make a task the current version of its domain, unless it is; the caller holds the lock.

        `hold`: by a record in any case, so that a newer version does not become current by being there.
        """
        before = self._settled()
        self.task(name)
        if (before.versions.held if hold else before.current).get(domain_of(name)) == name:
            return
        self.record_choice(CurrentRecord(time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), task=name))

    def commit(self, staged: Path, **task: Any) -> TaskRecord:
        """Complete the folder `staged` (below .work) with its task.json and rename it into place, whole.

        Raises FmallocError, and commits nothing, if it does not fit into the store, or if the lock that this process
        holds was taken away: another process may be writing too.
        """
        record = TaskRecord(files=sha256_files(staged), **task)
        return self._commit(staged, record, record.to_bytes())

    def grow(self, cells: int, seed: int) -> GrowthRecord:
        """Widen every layer by free cells; what was learned before keeps its widths and its bytes. Errors as above."""
        before = self._settled()
        number = len(before.growths) + 1
        staged = self._empty_work(f"growth-{number}")
        keys = draw_keys(self.layers, cells, self.d_model, seed, number)
        (staged / CELLS_FILE).write_bytes(keys_bytes(keys))
        record = GrowthRecord(cells=cells, seed=seed, files={CELLS_FILE: sha256(staged / CELLS_FILE)})
        content = record.to_bytes()
        write_atomically(staged / GROWTH_FILE, content)
        self._put(staged, self.path / GROWN / str(number), before.with_growth(record, content))
        return record

    def reserve(self, shares: Shares, parts: Sequence[int], of: int) -> ReservationRecord:
        """Let only free cells whose share is one of `parts`, of 1 to `of`, be claimed from now on. Errors as above."""
        before, staged = self._settled(), self._empty_work(RESERVED)
        (staged / SHARES_FILE).write_bytes(shares_bytes(shares))
        files = {SHARES_FILE: sha256(staged / SHARES_FILE)}
        record = ReservationRecord(before=before.head, of=of, parts=[*parts], files=files)
        content = record.to_bytes()
        write_atomically(staged / RESERVATION_FILE, content)
        self._put(staged, self.path / RESERVED, before.with_reservation(record, content))
        return record

    def adopt(self, other: "Store", name: str) -> None:
        """Commit a task that was learned in another part of the same store, every file as it is. Errors as above."""
        staged = self.path / WORK / f"{name}@adopted"
        shutil.rmtree(staged, ignore_errors=True)
        staged.parent.mkdir(exist_ok=True)
        shutil.copytree(other._task_path(name), staged)
        content = (staged / TASK_FILE).read_bytes()
        self._commit(staged, TaskRecord.parse(content, str(staged / TASK_FILE)), content)

    def _commit(self, staged: Path, record: TaskRecord, content: bytes) -> TaskRecord:
        """Put a folder and its record, whose bytes are `content`, among the tasks; errors as of `commit`."""
        before, destination = self._settled(), self._task_path(record.name)
        if destination.exists():
            raise FmallocError(f"{destination}: this task exists already and is never rewritten")
        after = before.with_task(record, content)
        memory = read_memory(staged / "memory.safetensors", self.widths(), self.d_model)
        self.cells().claim(after.tasks[-1].order, {layer: m.cells for layer, m in memory.items()})
        write_atomically(staged / TASK_FILE, content)
        self._put(staged, destination, after)
        return after.tasks[-1]

    def record_merge(self, record: MergeRecord) -> None:
        """Add the record of a merge whose tasks are all there."""
        after = self._settled().with_merge(record)
        self.put_record(f"{MERGED}/{len(after.merges)}.json", record.to_bytes(), after)

    def record_choice(self, record: CurrentRecord) -> None:
        """Add the record by which a version is made current, or was in another part."""
        after = self._settled().with_choice(record)
        self.put_record(f"{CURRENT}/{len(after.choices)}.json", record.to_bytes(), after)

    def _settled(self) -> Chain:
        """All records, listed in head.json."""
        chain = self.chain()
        chain.state_head()
        return chain

    def _empty_work(self, name: str) -> Path:
        staged = self.path / WORK / name
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        return staged

    def put_record(self, name: str, content: bytes, after: Chain) -> None:
        """Write a record that lies beside others, and let head.json list it: before that, nothing has happened."""
        path = self.path / name
        staged = self.path / WORK / path.name
        staged.parent.mkdir(exist_ok=True)
        write_atomically(staged, content)
        check_lock(self.path)
        path.parent.mkdir(exist_ok=True)
        staged.replace(path)
        sync_directory(path.parent)
        sync_directory(self.path)
        check_lock(self.path)
        after.write_head()

    def _put(self, staged: Path, destination: Path, after: Chain) -> None:
        """Rename a finished folder into place, and let head.json list its record."""
        sync_tree(staged)
        if not destination.parent.exists():
            check_lock(self.path)
            destination.parent.mkdir()
            sync_directory(self.path)
        check_lock(self.path)
        staged.rename(destination)
        sync_directory(destination.parent)
        after.write_head()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the lock of the store at `path`; the operating system frees it when the process dies."""
    with locked(path, "another process is writing this store; wait for it to end"):
        yield
