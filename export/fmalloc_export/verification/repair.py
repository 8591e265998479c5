"""`fmalloc verify --repair`: what was begun and not finished is found and deleted, and nothing else."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fmalloc.lifecycle.freeing import complete
from fmalloc.store.chain.chain import Chain
from fmalloc.store.chain.links import HEAD_FILE, STORE_FILE, TASKS
from fmalloc.store.distilled import DISTILLED, students_of
from fmalloc.store.store import Store
from fmalloc.store.verification import WORK
from fmalloc_export.bundles.publish import STAGING
from fmalloc_runtime.bundle.bundle import LIVE_FILE
from fmalloc_runtime.routing.costs import PARTIAL_FILE, ROUTING_COSTS_FILE
from fmalloc_shared.commands.outputs import readable
from fmalloc_shared.errors import FmallocError

_NUMBERED = re.compile(r"[1-9]\d*\.json")


@dataclass(frozen=True)
class Unfinished:
    """A file or folder below `root`, and what it is."""

    root: Path
    name: str
    what: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.root / self.name

    def __str__(self) -> str:
        files = [path for path in (self.path, *self.path.rglob("*")) if path.is_file() and not path.is_symlink()]
        return f"{self.name}: {self.what}, {readable(sum(path.stat().st_size for path in files))}"


def unfinished(path: Path) -> list[Unfinished]:
    """All of it in a store, or in a directory of bundles."""
    found = _in_store(path) if Store.exists(path) else _in_bundles(path)
    return [Unfinished(path, name, what) for name, what in found]


def delete_unfinished(path: Path, found: list[Unfinished]) -> None:
    """Delete what was found, and list a record that is committed but not listed; the caller holds the lock.

    A store has to be whole otherwise.
    """
    if Store.exists(path):
        complete(Store.open(path))
    for item in found:
        if item.path.is_dir() and not item.path.is_symlink():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)


def _in_store(path: Path) -> Iterator[tuple[str, str]]:
    if (path / WORK).is_dir() and not (path / WORK).is_symlink():
        yield from ((f"{WORK}/{item.name}", "work that was begun") for item in sorted((path / WORK).iterdir()))
    yield from _partials(path, HEAD_FILE, STORE_FILE)
    try:
        chain = Chain.read(path)
    except FmallocError:
        return  # without its records nothing tells what else was not finished
    for name in chain.leftovers:
        yield f"{TASKS}/{name}", "of a task that was freed"
    for student in students_of(path, chain.gone):
        yield f"{DISTILLED}/{student.path.name}", "of a task that was freed"
    for record in sorted(path.glob("*/*.json")):
        name = record.relative_to(path).as_posix()
        is_record = _NUMBERED.fullmatch(record.name) and record.parent.name not in ("base", WORK)
        if is_record and name not in chain.digests:
            yield name, "the record of a step that was stopped"


def _in_bundles(path: Path) -> Iterator[tuple[str, str]]:
    yield from ((item.name, "a bundle that was not finished") for item in sorted(path.glob(f"{STAGING}*")))
    if (path / PARTIAL_FILE).is_file():
        yield PARTIAL_FILE, "work that was begun"
    yield from _partials(path, LIVE_FILE, ROUTING_COSTS_FILE, PARTIAL_FILE)


def _partials(path: Path, *names: str) -> Iterator[tuple[str, str]]:
    """What writing one of these files at once left beside it."""
    for item in sorted(path.glob(".*.partial")):
        if re.fullmatch(rf"\.({'|'.join(map(re.escape, names))})\.\d+\.partial", item.name):
            yield item.name, "a file that was not written to its end"
