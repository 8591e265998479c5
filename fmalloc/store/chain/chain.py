"""The chain of a store's records: one digest, the head, covers all that was ever written, and what was freed since.

Records name the digests of all other files. head.json lists the records in the order in which they were written; the
head after each is SHA-256 of the head before it, a space, and the record's own SHA-256, both in hex. So a record whose
content is gone still has its place: who kept an old head finds it among those of the store as it is now.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from fmalloc.store.chain.certificate import Certificate
from fmalloc.store.chain.growth import GROWN, GROWTH_FILE, GrowthRecord
from fmalloc.store.chain.links import (
    HEAD_FILE,
    OLDER,
    STORE_FILE,
    TASK_FILE,
    TASKS,
    is_freed,
    names_in,
    numbers_in,
    ordered,
    places_of,
    record_path,
    unlisted,
)
from fmalloc.store.chain.parts import MergeRecord, ReservationRecord
from fmalloc.store.chain.versions import CURRENT, CurrentRecord, Versions, versions_of
from fmalloc.store.invariants import BrokenStoreError, problems_of_links, problems_of_store, problems_of_task
from fmalloc.store.records import HeadRecord, Link, StoreRecord, TaskRecord
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import read_small, write_atomically

_Record = TypeVar("_Record", Certificate, CurrentRecord, MergeRecord, ReservationRecord)


@dataclass(frozen=True)
class Chain:
    """All records of a store.

    `links`: in the order in which they were written. `tasks`: those that are there, in the order of learning.
    `growths`, `certificates`, `choices` of current versions and `merges`: by number from 1. `digests`: SHA-256 of every
    record by its path below the store. `stated`: the content of head.json, None in a store that was written by format
    1. `leftovers`: tasks that are freed, but whose files are still there. `reservation`: None in a store whose free
    cells are all its own.
    """

    path: Path
    store: StoreRecord
    links: tuple[Link, ...]
    tasks: tuple[TaskRecord, ...]
    growths: tuple[GrowthRecord, ...]
    certificates: tuple[Certificate, ...]
    choices: tuple[CurrentRecord, ...]
    digests: Mapping[str, str]
    stated: HeadRecord | None
    leftovers: tuple[str, ...] = ()
    merges: tuple[MergeRecord, ...] = ()
    reservation: ReservationRecord | None = None

    @classmethod
    def read(cls, path: Path) -> "Chain":
        """Read all records; FmallocError, with all problems at once, unless they fit together."""
        # The head first: it is written after the task, so that a task that is committed meanwhile is not missed.
        stated = HeadRecord.read(path / HEAD_FILE) if (path / HEAD_FILE).exists() else None
        listed = tuple(stated.links or ()) if stated else ()
        content = read_small(path / STORE_FILE)
        store, digests = StoreRecord.parse(content, str(path / STORE_FILE)), {STORE_FILE: sha256(content).hexdigest()}

        def read(name: str) -> bytes:
            content = read_small(path / name)
            digests[name] = sha256(content).hexdigest()
            return content

        tasks, leftovers = [], []
        for name in names_in(path / TASKS):
            file = f"{TASKS}/{name}/{TASK_FILE}"
            task = TaskRecord.parse(read(file), str(path / file))
            if is_freed(name, digests[file], listed):
                leftovers.append(name)
                del digests[file]
                continue
            tasks.append(task)
            if task.name != name:
                raise FmallocError(f"{path / file}: name is {task.name!r}, expected {name!r}, as its folder")
        growths = [
            GrowthRecord.parse(read(file), str(path / file))
            for number in numbers_in(path / GROWN)
            for file in [f"{GROWN}/{number}/{GROWTH_FILE}"]
        ]

        def listed_records(kind: str, record: type[_Record]) -> tuple[_Record, ...]:
            names = [record_path(link) for link in listed if link.kind == kind]
            return tuple(record.parse(read(name), str(path / name)) for name in names)

        certificates, choices = listed_records("freeing", Certificate), listed_records(CURRENT, CurrentRecord)
        merges, reservations = listed_records("merge", MergeRecord), listed_records("reservation", ReservationRecord)
        links = [*listed, *unlisted(tasks, len(growths), digests, listed)]
        in_order = ordered(tasks, links)
        chain = cls(path, store, tuple(links), in_order, tuple(growths), certificates, choices, digests, stated,
                    tuple(leftovers), merges, next(iter(reservations), None))  # fmt: skip
        chain.check()
        return chain

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The head of the store before its first record after store.json, and after each."""
        heads = [self.digests[STORE_FILE]]
        for link in self.links:
            digest = link.record if link.kind == "freed" else self.digests[record_path(link)]
            heads.append(digest if link.chained else sha256(f"{heads[-1]} {digest}".encode()).hexdigest())
        return tuple(heads)

    @property
    def head(self) -> str:
        """One digest of the whole store."""
        return self.heads[-1]

    @property
    def own_tasks(self) -> tuple[str, ...]:
        """Names of what was learned in this part of a divided store, in the order of learning; none elsewhere."""
        if self.reservation is None:
            return ()
        place = next(place for place, link in enumerate(self.links) if link.kind == "reservation")
        return tuple(link.name for link in self.links[place:] if link.kind == "task")

    @cached_property
    def merged_heads(self) -> Mapping[str, str]:
        """Heads of the stores that were merged, after each of their records since they divided; each in words."""
        found: dict[str, str] = {}
        for number, merge in enumerate(self.merges, start=1):
            for place, store in enumerate(merge.stores, start=1):
                where = f"store {place} of merge {number}"
                heads = zip(store.links, store.heads(merge.before), strict=True)
                found |= {head: f"{where}, after its {link.kind} {link.name}" for link, head in heads}
        return found

    @property
    def is_stated(self) -> bool:
        """Whether head.json lists all records; it does not where a commit was stopped before it, or in format 1."""
        return self.stated is not None and self.stated.head == self.head

    @property
    def gone(self) -> frozenset[str]:
        """Records of tasks that were freed and have not been learned again with the same bytes."""
        there = {link.record for link in self.links if link.kind == "task"}
        return frozenset(link.record for link in self.links if link.kind == "freed") - there

    @cached_property
    def versions(self) -> Versions:
        """Of all domains."""
        return versions_of(((link.kind, link.name) for link in self.links), self.choices)

    @cached_property
    def current(self) -> Mapping[str, str]:
        """By domain the name of the task that is its current version."""
        return self.versions.current

    def state_head(self) -> None:
        """Let head.json list all records, unless it does."""
        if not self.is_stated:
            self.write_head()

    def write_head(self) -> None:
        """Write head.json."""
        record = HeadRecord.of(len(self.tasks), self.head, list(self.links))
        write_atomically(self.path / HEAD_FILE, record.to_bytes())

    def cells_before(self, task: str | None = None) -> int:
        """How many cells each layer had been widened by when a task was learned; by now, without a task."""
        number = 0
        for link in self.links:
            if task is not None and link.kind == "task" and link.name == task:
                break
            number += link.kind == "growth"
        return sum(growth.cells for growth in self.growths[:number])

    def with_task(self, record: TaskRecord, content: bytes) -> "Chain":
        """The chain after a task, whose task.json has this `content`; FmallocError if it does not fit."""
        links = self._with("task", record.name, content)
        after = replace(links, tasks=(*self.tasks, record.placed(places_of(links.links)[record.name])))
        after.check()
        return after

    def with_growth(self, record: GrowthRecord, content: bytes) -> "Chain":
        """The chain after a growth, whose growth.json has this `content`."""
        after = self._with("growth", str(len(self.growths) + 1), content)
        return replace(after, growths=(*self.growths, record))

    def with_choice(self, record: CurrentRecord) -> "Chain":
        """The chain after a version was made current; FmallocError if it is not there."""
        after = self._with(CURRENT, str(len(self.choices) + 1), record.to_bytes())
        after = replace(after, choices=(*self.choices, record))
        after.check()
        return after

    def with_reservation(self, record: ReservationRecord, content: bytes) -> "Chain":
        """The chain after a reservation, whose reservation.json has this `content`; there is one at most."""
        after = replace(self._with("reservation", "1", content), reservation=record)
        after.check()
        return after

    def with_merge(self, record: MergeRecord) -> "Chain":
        """The chain after a merge; FmallocError if it names what is not in this store."""
        after = self._with("merge", str(len(self.merges) + 1), record.to_bytes())
        after = replace(after, merges=(*self.merges, record))
        after.check()
        return after

    def with_freeing(self, record: Certificate) -> "Chain":
        """The chain after a freeing: what it names is listed as freed."""
        gone = {task.name for task in record.freed}
        links = [
            link.model_copy(update={"kind": "freed"}) if link.kind == "task" and link.name in gone else link
            for link in self.links
        ]
        tasks = tuple(task for task in self.tasks if task.name not in gone)
        before = replace(self, links=tuple(links), tasks=tasks)
        after = before._with("freeing", str(len(self.certificates) + 1), record.to_bytes())
        after = replace(after, certificates=(*self.certificates, record))
        after.check()
        return after

    def _with(self, kind: str, name: str, content: bytes) -> "Chain":
        link = Link.model_validate({"kind": kind, "name": name, "record": sha256(content).hexdigest()})
        digests = {**self.digests, record_path(link): link.record}
        stated = HeadRecord.of(len(self.tasks), self.head, list(self.links))
        return replace(self, links=(*self.links, link), digests=digests, stated=stated)

    def check(self) -> None:
        """Raise FmallocError, with all problems at once, unless the records fit together."""
        problems = [f"{STORE_FILE}: {problem}" for problem in problems_of_store(self.store)]
        counts = {"growth": len(self.growths), "freeing": len(self.certificates), "merge": len(self.merges)}
        problems += problems_of_links(self.links, self.tasks, counts, self.certificates, self.choices)
        cells = len(self.store.layers) * self.cells_before() + sum(layer.width for layer in self.store.layers)
        earlier: dict[str, TaskRecord] = {}
        places = places_of(self.links)
        for task in self.tasks:
            found = problems_of_task(task, places[task.name], earlier, self.store, cells)
            problems += (f"{TASKS}/{task.name}/{TASK_FILE}: {problem}" for problem in found)
            earlier[task.name] = task
        # Where records are missing, nothing else fits either.
        if not problems:
            problems += self._broken_links()
        if problems:
            raise BrokenStoreError([("chain", f"{self.path}/{problem}") for problem in problems])

    def _broken_links(self) -> Iterator[str]:
        before, tasks = STORE_FILE, {task.name: task for task in self.tasks}
        certificates, merges = iter(self.certificates), iter(self.merges)
        for place, (link, head) in enumerate(zip(self.links, self.heads, strict=False)):
            where = record_path(link)
            if link.kind == "task" and tasks[link.name].previous not in (None, head):
                previous = tasks[link.name].previous
                yield f"{where}: previous is {previous}, but {before} gives {head}: one of the two was changed"
            if link.kind == "freeing" and (stated := next(certificates)).before != head:
                yield f"{where}: before is {stated.before}, but the records give {head}: one of the two was changed"
            if link.kind == "reservation" and self.reservation and self.reservation.before != head:
                yield f"{where}: before is {self.reservation.before}, but {before} gives {head}"
            if link.kind == "merge":
                found = next(merges).problems(self.links[:place], self.heads[: place + 1])
                yield from (f"{where}: {problem}" for problem in found)
            if link.kind != "freed" and self.digests[where] != link.record:
                yield f"{where}: sha256 is {self.digests[where]}, but {HEAD_FILE} says {link.record}"
            before = where
        if self.stated is None:
            if any(version >= OLDER for version in (self.store.version, *(task.version for task in self.tasks))):
                yield f"{HEAD_FILE}: no such file: a store of version 2 and above has one"
            return
        yield from self._false_head(self.stated)

    def _false_head(self, stated: HeadRecord) -> Iterator[str]:
        if stated.links is None:
            count, place, named = len(self.tasks), stated.tasks, ", ".join(task.name for task in self.tasks) or "none"
            if stated.tasks > count or stated.tasks < count - 1:
                yield f"{HEAD_FILE}: tasks is {stated.tasks}, but there are {count}: {named}"
                return
        else:
            place, listed = len(stated.links), sum(link.kind == "task" for link in stated.links)
            if stated.tasks != listed:
                yield f"{HEAD_FILE}: tasks is {stated.tasks}, but links lists {listed}"
            if len(self.links) > place + 1:
                more = ", ".join(record_path(link) for link in self.links[place:])
                yield f"{HEAD_FILE}: links does not list {more}; a commit that was stopped leaves one record at most"
                return
        if (found := self.heads[place]) != stated.head:
            yield f"{HEAD_FILE}: head is {stated.head}, but the records give {found}: one of them was changed"
