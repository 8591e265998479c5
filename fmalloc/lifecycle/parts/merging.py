"""Parts of a divided store, united: whether they fit, and how what each learned comes into one store, byte for byte."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fmalloc.lifecycle.parts.dividing import copy_store
from fmalloc.store.chain.chain import Chain
from fmalloc.store.chain.links import HEAD_FILE, STORE_FILE, TASKS, record_path
from fmalloc.store.chain.parts import RESERVED, MergedStore, MergeRecord, ReservationRecord
from fmalloc.store.chain.versions import CURRENT, domain_of
from fmalloc.store.distilled import DISTILLED
from fmalloc.store.records import Link
from fmalloc.store.store import Store
from fmalloc_shared.errors import FmallocError

_MOST_NAMED = 5


@dataclass(frozen=True)
class Part:
    """A store that was divided from another, and its chain as it was read."""

    store: Store
    chain: Chain
    reservation: ReservationRecord

    @classmethod
    def open(cls, path: Path) -> "Part":
        """Read and verify a part; FmallocError if it is none, is damaged, or is still learning."""
        store = Store.open(path)
        store.verify()
        chain = store.chain()
        if chain.reservation is None:
            raise FmallocError(f"{path}: is no part of a divided store; `fmalloc reserve` makes them")
        if unfinished := store.unfinished():
            raise FmallocError(
                f"{path}: {', '.join(unfinished)}: being learned; finish with `fmalloc train`, or drop it by deleting "
                f"{path / '.work' / unfinished[0]}"
            )
        return cls(store, chain, chain.reservation)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.store.path

    @property
    def links(self) -> tuple[Link, ...]:
        """Of its chain, from its reservation on."""
        kinds = [link.kind for link in self.chain.links]
        return self.chain.links[kinds.index("reservation") :]

    @property
    def shared(self) -> tuple[Link, ...]:
        """Of its chain, before its reservation: those of the store that was divided."""
        return self.chain.links[: len(self.chain.links) - len(self.links)]

    @property
    def domains(self) -> set[str]:
        """Those that were learned in it, had a version learned or chosen."""
        places = [int(link.name) - 1 for link in self.links if link.kind == CURRENT]
        chosen = [self.chain.choices[place].task for place in places]
        return {domain_of(task) for task in (*self.chain.own_tasks, *chosen)}

    @property
    def origin(self) -> str:
        """The store that was divided, in words."""
        named = ", ".join(f"{link.kind} {link.name}" for link in self.shared)
        return f"head {self.reservation.before} ({named or 'nothing learned'})"

    def problems_with(self, first: "Part") -> Iterator[str]:
        """Why it cannot be merged with another one, in words."""
        own, other = self.chain.store, first.chain.store
        if self.chain.digests[STORE_FILE] != first.chain.digests[STORE_FILE]:
            differing = ", ".join(_differences(own.model_dump(), other.model_dump()))
            yield f"another base or general model than that of {first.path}: {differing}"
            return
        if self.reservation.before != first.reservation.before:
            yield f"divided from a store with {self.origin}, not as {first.path} from one with {first.origin}"
            return
        if (self.reservation.of, self.reservation.files) != (first.reservation.of, first.reservation.files):
            yield (
                f"divided otherwise than {first.path}, so that both may have claimed the same cells: "
                f"{self.reservation} and {first.reservation}"
            )
            return
        if both := sorted({*self.reservation.parts} & {*first.reservation.parts}):
            yield f"is part {', '.join(map(str, both))}, as {first.path} is: both may have claimed the same cells"
            return
        if same := sorted(self.domains & first.domains):
            yield (
                f"has learned {', '.join(same)}, or a version of it, as {first.path} has; merge one of the two, or "
                "learn it in its part again under another name"
            )


def _differences(own: dict[str, object], other: dict[str, object]) -> list[str]:
    """Keys whose values differ, with those that are short, and of files each."""
    found = []
    for key in sorted({*own, *other}):
        mine, theirs = own.get(key), other.get(key)
        if mine != theirs and isinstance(mine, dict) and isinstance(theirs, dict):
            found += [f"{key}.{name}" for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]
        elif mine != theirs:
            short = isinstance(mine, str | int | float) and isinstance(theirs, str | int | float)
            found.append(f"{key} {mine}, not {theirs}" if short else key)
    more = [f"and {len(found) - _MOST_NAMED} more"] if len(found) > _MOST_NAMED else []
    return [*found[:_MOST_NAMED], *more]


def open_parts(paths: Sequence[Path]) -> list[Part]:
    """Parts that can be merged, verified; FmallocError names all that keeps any of them from it."""
    parts, problems = [], []
    for path in paths:
        try:
            parts.append(Part.open(path))
        except FmallocError as error:
            problems.append(str(error))
    for number, part in enumerate(parts):
        for earlier in parts[:number]:
            problems += (f"{part.path}: {problem}" for problem in part.problems_with(earlier))
    if problems:
        raise FmallocError("\n".join(dict.fromkeys(problems)))
    return parts


def begin(parts: Sequence[Part], folder: Path) -> Store:
    """The store that was divided, as it was, in the new `folder`; what the given parts are not stays reserved."""
    first = parts[0]
    later = {record_path(link) for link in first.links if link.kind in ("merge", CURRENT)}
    own = {f"{TASKS}/{name}" for name in first.chain.own_tasks}
    copy_store(first.path, folder, without=(HEAD_FILE, RESERVED, *later, *own))
    merges, choices = (sum(link.kind == kind for link in first.shared) for kind in ("merge", CURRENT))
    chain = replace(
        first.chain,
        path=folder,
        links=first.shared,
        tasks=tuple(task for task in first.chain.tasks if task.name not in first.chain.own_tasks),
        merges=first.chain.merges[:merges],
        choices=first.chain.choices[:choices],
        reservation=None,
    )
    chain.write_head()
    store = Store.open(folder)
    numbers = sorted(number for part in parts for number in part.reservation.parts)
    if len(numbers) < first.reservation.of:
        store.reserve(first.store.shares(), numbers, first.reservation.of)
    return store


def unite(store: Store, parts: Sequence[Part]) -> None:
    """Add to the store that was divided what the parts learned, in their order; a unification that was stopped goes on.

    Every step is a commit of its own; the record of the merge is the last.
    """
    for part in parts:
        for link in part.links:
            chain = store.chain()
            if link.kind == "task" and link.name not in {task.name for task in chain.tasks}:
                store.adopt(part.store, link.name)
            elif link.kind == "merge":
                _record(store, part.chain.merges[int(link.name) - 1])
            elif link.kind == CURRENT and (choice := part.chain.choices[int(link.name) - 1]) not in chain.choices:
                store.record_choice(choice)
        for student in sorted((part.path / DISTILLED).glob("*")):
            if not (store.path / DISTILLED / student.name).exists():
                shutil.copytree(student, store.path / DISTILLED / student.name)
    stores = [MergedStore(links=[*part.links]) for part in parts]
    _record(store, MergeRecord(before=parts[0].reservation.before, stores=stores))


def _record(store: Store, merge: MergeRecord) -> None:
    if merge not in store.chain().merges:
        store.record_merge(merge)
