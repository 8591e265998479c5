"""Links of a chain: where their records lie, the order of tasks, and what lies in a store but is not listed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fmalloc.store.chain.certificate import FREED
from fmalloc.store.chain.growth import GROWN, GROWTH_FILE
from fmalloc.store.chain.parts import MERGED, RESERVATION_FILE, RESERVED
from fmalloc.store.chain.versions import CURRENT, check_task_name
from fmalloc.store.records import Link, TaskRecord
from fmalloc_shared.errors import FmallocError

STORE_FILE, HEAD_FILE, TASK_FILE, TASKS = "store.json", "head.json", "task.json", "tasks"
# Format of tasks that say their order themselves.
OLDER = 2


def record_path(link: Link) -> str:
    """Where the record of a link lies below the store."""
    match link.kind:
        case "growth":
            return f"{GROWN}/{link.name}/{GROWTH_FILE}"
        case "freeing":
            return f"{FREED}/{link.name}.json"
        case "current":
            return f"{CURRENT}/{link.name}.json"
        case "reservation":
            return f"{RESERVED}/{RESERVATION_FILE}"
        case "merge":
            return f"{MERGED}/{link.name}.json"
        case _:
            return f"{TASKS}/{link.name}/{TASK_FILE}"


def is_freed(name: str, record: str, links: tuple[Link, ...]) -> bool:
    """Whether a folder is what a freeing left; a task that was learned again is linked, and may have the same bytes."""
    named = [link for link in links if link.name == name]
    return not any(link.kind == "task" for link in named) and any(
        link.kind == "freed" and link.record == record for link in named
    )


def places_of(links: Sequence[Link]) -> dict[str, int]:
    """The order of every task that is there: its place, from 1, among all that were ever learned, freed ones too."""
    learned = [link for link in links if link.kind in ("task", "freed")]
    return {link.name: place for place, link in enumerate(learned, start=1) if link.kind == "task"}


def ordered(tasks: list[TaskRecord], links: list[Link]) -> tuple[TaskRecord, ...]:
    """Tasks in the order of their links; those of version 3 learn their order from it."""
    places = places_of(links)
    found = sorted(tasks, key=lambda task: places[task.name])
    return tuple(task.placed(places[task.name]) if task.version > OLDER else task for task in found)


def unlisted(
    tasks: list[TaskRecord], growths: int, digests: Mapping[str, str], listed: tuple[Link, ...]
) -> Iterator[Link]:
    """Links of what head.json does not list: all tasks before version 3, else the one record of a stopped commit."""
    known = {link.name for link in listed if link.kind == "task"}
    for task in sorted((task for task in tasks if task.name not in known), key=lambda task: task.order):
        digest = digests[f"{TASKS}/{task.name}/{TASK_FILE}"]
        yield Link(kind="task", name=task.name, record=digest, chained=task.previous is not None)
    for number in range(sum(link.kind == "growth" for link in listed) + 1, growths + 1):
        name = str(number)
        yield Link(kind="growth", name=name, record=digests.get(f"{GROWN}/{name}/{GROWTH_FILE}", "0" * 64))


def numbers_in(folder: Path) -> range:
    """Numbers of the folders in a folder, from 1; FmallocError unless all are there."""
    if not folder.exists() and not folder.is_symlink():
        return range(0)
    names = names_in(folder)
    expected = range(1, len(names) + 1)
    if {*names} != {str(number) for number in expected}:
        raise FmallocError(f"{folder}: has folders {', '.join(names)}, expected 1 to {len(names)}")
    return expected


def names_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; FmallocError unless each can be a task's, and is a plain folder."""
    if not folder.is_dir() or folder.is_symlink():
        raise FmallocError(f"{folder}: expected a folder with one folder per {folder.name.removesuffix('s')}")
    names = sorted(entry.name for entry in folder.iterdir())
    for name in names:
        if (folder / name).is_symlink() or not (folder / name).is_dir():
            raise FmallocError(f"{folder / name}: expected folders of {folder.name} only")
        check_task_name(name)
    return names
