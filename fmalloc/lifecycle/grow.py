"""fmalloc grow: every feed-forward layer of a store gets free cells; nothing that was learned changes."""

from pathlib import Path

from fmalloc.lifecycle.freeing import check_whole, complete
from fmalloc.report.capacity import Forecast
from fmalloc.store.chain.growth import MOST_CELLS
from fmalloc.store.store import Store, writing
from fmalloc.store.verification import WORK
from fmalloc_shared.commands.outputs import check_folder, readable
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError


def grow(path: Path, cells: int, seed: int, *, dry_run: bool = False) -> None:
    """Widen every layer of the store at `path` by `cells` free cells; `dry_run` only says what that would give.

    Raises FmallocError if the store is damaged, or would become wider than stores can be.
    """
    store = Store.open(path)
    check_whole(store, "grown")
    widths = store.widths()
    if (widest := max(widths.values())) + cells > MOST_CELLS:
        raise FmallocError(
            f"{path}: has layers of {widest} cells, so --cells {cells} would make more than {MOST_CELLS}"
        )
    size = cells * store.d_model * 4 * len(widths)
    check_folder(path, size)
    if dry_run:
        console.print(
            f"{path}: {len(widths)} layers would get {cells} free cells each, {readable(size)} on disk", markup=False
        )
        return
    with writing(path):
        complete(store)
        if unfinished := store.unfinished():
            raise FmallocError(
                f"{path}: {', '.join(unfinished)}: being learned in layers of the present width; finish it with "
                f"`fmalloc train`, or drop it by deleting {path / WORK / unfinished[0]}"
            )
        store.verify()
        store.grow(cells, seed)
    free = sum(store.cells().free_count().values())
    forecast = Forecast.of(store.cells(), {task.name: task.order for task in store.tasks()})
    console.print(
        f"{path}: {len(widths)} layers have {cells} more cells each, {free} are free; room for {forecast}", markup=False
    )
    console.print(f"head {store.chain().head}", soft_wrap=True, highlight=False)
