"""Freeing tasks: what it would do, the certificate, and the deletion, which a kill leaves undone or to be completed.

The order is the journal: the certificate is written, then head.json, which lists the tasks as freed, and only then
their folders are deleted. Before head.json is replaced nothing has happened; after it, whoever writes next deletes what
is left.
"""

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fmalloc.lifecycle.traces import Traces
from fmalloc.store.chain.certificate import FREED, Certificate, FreedTask
from fmalloc.store.chain.links import HEAD_FILE, STORE_FILE, TASK_FILE, TASKS
from fmalloc.store.chain.parts import MERGED
from fmalloc.store.chain.proof import kept_tasks, problems_of
from fmalloc.store.chain.versions import CURRENT, domain_of
from fmalloc.store.distilled import DIGITS, students_of
from fmalloc.store.records import TaskRecord
from fmalloc.store.store import Store
from fmalloc.store.verification import LOCK_FILE, WORK
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_lock, sync_directory
from fmalloc_shared.names import GENERAL

# What may hold numbers that the base has as well.
_COMMON = ("base/", "grown/")
_EARLIER = "earlier"


def readers_of(store: Store, names: Sequence[str]) -> list[str]:
    """Tasks that read one of these, or a task that does, and are none of these; in the order of learning.

    FmallocError if one of the names is no task.
    """
    for name in names:
        if name == GENERAL:
            raise FmallocError(
                f"{store.path}: {GENERAL} is the pruned base, which all domains read; it cannot be freed"
            )
        store.task(name)
    gone = {*names}
    for task in store.tasks():
        if gone & {*task.reads}:
            gone.add(task.name)
    return [task.name for task in store.tasks() if task.name in gone - {*names}]


def certificate_of(store: Store, names: Sequence[str], bundles: Sequence[str]) -> Certificate:
    """What freeing these tasks, which no other reads, will have done; `bundles` are deleted with them.

    Raises FmallocError if another file of the store holds their values, or if a task is being learned.
    """
    chain, gone = store.chain(), frozenset(names)
    check_whole(store, "freed of domains")
    if unfinished := sorted({*store.unfinished()} - gone):
        raise FmallocError(
            f"{store.path}: {', '.join(unfinished)}: being learned, with what is to be freed at hand; finish with "
            f"`fmalloc train`, or drop it by deleting {store.path / WORK / unfinished[0]}"
        )
    tasks = [task for task in chain.tasks if task.name in gone]
    table = store.cells()
    traces = {task.name: _traces(store, task.name) for task in tasks}
    deleted = {task.name: _own_files(store, task.name) for task in tasks}
    with_them = {path for paths in deleted.values() for path in paths}
    files = [path for path in _files(store.path) if path not in with_them and not _in_work(store.path, path, gone)]
    heirs = {task.name: [heir for heir in _heirs(task, chain.tasks) if heir not in gone] for task in tasks}
    for name, rows in traces.items():
        with_values = {path for heir in heirs[name] for path in _own_files(store, heir)}
        for path in (path for path in files if path not in with_values):
            if next(rows.found_in(path), None) is not None:
                where = path.relative_to(store.path)
                raise FmallocError(
                    f"{store.path}: {where} holds values of {name!r} as well, as a task that was learned from the same "
                    "text may: free both, or none"
                )
    free = table.free_count()
    for task in tasks:
        free = {layer: count + table.count(task.order)[layer] for layer, count in free.items()}
    return Certificate(
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        store=chain.digests[STORE_FILE],
        before=chain.head,
        freed=[
            FreedTask(
                name=task.name,
                order=task.order,
                record=chain.digests[f"{TASKS}/{task.name}/{TASK_FILE}"],
                cells=table.count(task.order),
                files=len(deleted[task.name]),
                bytes=sum(path.stat().st_size for path in deleted[task.name]),
                offered_to=[
                    later.name
                    for later in chain.tasks
                    if later.order > task.order
                    and later.name not in gone
                    and domain_of(later.name) != domain_of(task.name)
                    and later.settings.get("reads", _EARLIER) == _EARLIER
                ],
                continued_in=heirs[task.name],
            )
            for task in tasks
        ],
        kept=kept_tasks(chain, gone),
        free=free,
        rows_searched=sum(rows.count for rows in traces.values()),
        bytes_searched=sum(path.stat().st_size for path in files),
        bundles=sorted(bundles),
    )


def check_whole(store: Store, what: str) -> None:
    """Raise FmallocError if the store is a part of another, where nothing but learning may happen before the merge."""
    if part := store.chain().reservation:
        raise FmallocError(
            f"{store.path}: is {part} of a store, and could not be merged with the others if it was {what}; merge them "
            "first, with `fmalloc merge`"
        )


def free(store: Store, certificate: Certificate) -> Path:
    """Do what the certificate says; returns where it lies. The caller holds the lock, and has verified the store.

    Raises FmallocError if the store is not what it was for the certificate, or not as it says afterwards.
    """
    before = store.chain()
    before.state_head()
    path = store.path / FREED / f"{len(before.certificates) + 1}.json"
    after = before.with_freeing(certificate)
    check_lock(store.path)
    for task in certificate.freed:  # what a kill left when it was learned
        for folder in (store.path / WORK).glob("*"):
            if _is_work_of(folder.name, task.name):
                shutil.rmtree(folder)
    store.put_record(f"{FREED}/{path.name}", certificate.to_bytes(), after)
    complete(store)
    chain = store.chain()
    if problems := list(problems_of(chain, len(chain.certificates), store.cells())):
        raise FmallocError("\n".join(f"{path}: {problem}" for problem in problems))
    return path


def complete(store: Store) -> tuple[str, ...]:
    """Delete what a stopped freeing left, and write the head of a stopped commit; the caller holds the lock.

    Returns the names of tasks whose files were still there.
    """
    check_lock(store.path)
    chain = store.chain()
    chain.state_head()
    for name in chain.leftovers:
        _delete(store.path / TASKS / name, store.path / WORK / f"freed-{name}")
    for student in students_of(store.path, chain.gone):
        _delete(student.path, store.path / WORK / f"freed-{student.path.name}")
    for folder in (store.path / WORK).glob("freed-*"):
        shutil.rmtree(folder)
    for partial in store.path.glob(f".{HEAD_FILE}.*.partial"):
        partial.unlink()
    for records, listed in ((FREED, chain.certificates), (CURRENT, chain.choices), (MERGED, chain.merges)):
        (store.path / records / f"{len(listed) + 1}.json").unlink(missing_ok=True)
    return chain.leftovers


def _delete(folder: Path, aside: Path) -> None:
    """Rename first, so that the folder disappears whole."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(exist_ok=True)
    folder.rename(aside)
    sync_directory(folder.parent)
    shutil.rmtree(aside)


def _heirs(task: TaskRecord, tasks: Sequence[TaskRecord]) -> list[str]:
    """Versions that may hold its values: those that began as a copy of it, or of one that is gone as it did too."""
    there = {other.name for other in tasks}
    origins = {task.name, *(name for name in task.begun_as if name not in there)}
    return [
        other.name for other in tasks if other.name not in (task.name, *task.begun_as) and origins & {*other.begun_as}
    ]


def _traces(store: Store, name: str) -> Traces:
    """Rows of its own: what the base has as well, or a version that it began as a copy of, is not."""
    rows = Traces.of(store.memory(name).values(), store.private(name).values())
    begun_as = tuple(f"{TASKS}/{version}/" for version in store.task(name).begun_as)
    known = (*_COMMON, *begun_as)
    return rows.without(
        path for path in _files(store.path) if path.relative_to(store.path).as_posix().startswith(known)
    )


def _files(store: Path) -> Iterator[Path]:
    return (path for path in sorted(store.rglob("*")) if path.is_file() and path.name != LOCK_FILE)


def _own_files(store: Store, name: str) -> list[Path]:
    """The files that go with a task: its own, and those of models that were distilled from it."""
    record = store.chain().digests[f"{TASKS}/{name}/{TASK_FILE}"]
    folders = [store.path / TASKS / name, *(student.path for student in students_of(store.path, {record}))]
    return [path for folder in folders for path in folder.iterdir()]


def _in_work(store: Path, path: Path, names: frozenset[str]) -> bool:
    """Whether a file is what one of these tasks, or a student of it, was begun with."""
    parts = path.relative_to(store).parts
    return len(parts) > 2 and parts[0] == WORK and any(_is_work_of(parts[1], name) for name in names)


def _is_work_of(folder: str, name: str) -> bool:
    """Whether it is where a task, or a student of its domain, is made."""
    domain, _, digits = folder.partition("@")
    return folder == name or (domain == domain_of(name) and len(digits) == DIGITS)
