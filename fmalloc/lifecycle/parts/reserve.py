"""fmalloc reserve: a store is divided into parts, for those who learn apart and merge what they learned."""

from pathlib import Path

from fmalloc.lifecycle.freeing import complete
from fmalloc.lifecycle.parts.dividing import cells_of, check_new, make_part, shares_of, whole
from fmalloc.store.store import Store, writing
from fmalloc_shared.commands.outputs import check_folder, readable
from fmalloc_shared.commands.progress import console


def reserve(path: Path, count: int, output_dir: Path, *, dry_run: bool = False) -> None:
    """Divide the store at `path` into so many parts, in folders of the new `output_dir`; the store stays as it is.

    Raises FmallocError if the store is damaged or a part itself, if a part would get no cell, or if the folder exists.
    """
    store = Store.open(path)
    check_new(output_dir)
    shares = shares_of(store, count)
    size = count * sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    check_folder(output_dir, size)
    if dry_run:
        store.verify()
    else:
        with writing(path):
            complete(store)
            store.verify()
            shares = shares_of(store, count)
            with whole(output_dir) as staged:
                for number in range(1, count + 1):
                    make_part(store, staged / _name(number), shares, number, count)
    for number, cells in enumerate(cells_of(shares, count), start=1):
        part = output_dir / _name(number)
        head = f"; head {Store.open(part).chain().head}" if not dry_run else ""
        console.print(f"{part}: part {number} of {count}, {cells} cells may be claimed{head}", markup=False)
    console.print(f"{readable(size)} on disk, each of them a whole store", markup=False)


def _name(number: int) -> str:
    return f"part-{number}"
