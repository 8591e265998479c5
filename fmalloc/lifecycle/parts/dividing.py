"""A store divided into parts: copies of it that may claim disjoint shares of its free cells."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fmalloc.store.chain.parts import MOST_PARTS, Shares, divided
from fmalloc.store.store import Store
from fmalloc.store.verification import LOCK_FILE, WORK
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sync_directory, sync_tree

Copy = Callable[[Any, Any], object]


def shares_of(store: Store, count: int) -> Shares:
    """The free cells of a store in `count` equal shares.

    Raises FmallocError if it is a part itself, or if a part would get no cell.
    """
    if part := store.chain().reservation:
        raise FmallocError(f"{store.path}: is {part} itself, which is not divided again; merge the parts first")
    if not 2 <= count <= MOST_PARTS:
        raise FmallocError(f"{count} parts: expected 2 to {MOST_PARTS}")
    table = store.cells()
    shares = divided({layer: table.free(layer) for layer in store.layers}, store.widths(), count)
    if not min(cells_of(shares, count)):
        free = sum(table.free_count().values())
        raise FmallocError(
            f"{store.path}: {free} cells are free, too few for {count} parts; `fmalloc grow {store.path} --cells 512` "
            "adds some"
        )
    return shares


def cells_of(shares: Shares, count: int) -> list[int]:
    """How many cells of all layers each part may claim."""
    return [sum(int((share == number).sum()) for share in shares.values()) for number in range(1, count + 1)]


def copy_store(store: Path, folder: Path, copy: Copy = shutil.copy2, *, without: tuple[str, ...] = ()) -> None:
    """Copy all that a store holds into the new `folder`, but for what writers use, and paths below it in `without`."""

    def ignored(directory: str, names: list[str]) -> set[str]:
        below = Path(directory).relative_to(store)
        if below == Path():
            return {name for name in names if name in (LOCK_FILE, WORK, *without)}
        return {name for name in names if (below / name).as_posix() in without}

    shutil.copytree(store, folder, ignore=ignored, copy_function=copy)


def make_part(store: Store, folder: Path, shares: Shares, number: int, of: int, copy: Copy = shutil.copy2) -> None:
    """Write a part of a store into the new `folder`."""
    copy_store(store.path, folder, copy)
    Store.open(folder).reserve(shares, [number], of)
    shutil.rmtree(folder / WORK)


def linked(source: Any, target: Any) -> None:
    """Copy a file by a second name for it where the file system can: nothing in a store is written twice."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A path beside `folder`, to be filled; at the end, without an error, it gets the folder's name."""
    staged = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(staged, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield staged
        sync_tree(staged)
        check_new(folder)
        staged.rename(folder)
        sync_directory(folder.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def check_new(folder: Path) -> None:
    """Raise FmallocError if something lies where a folder is to be made."""
    if os.path.lexists(folder):
        raise FmallocError(f"{folder}: exists already, and nothing is written over; choose another place")
