"""fmalloc merge: what was learned in the parts of a divided store, united in one store."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from fmalloc.lifecycle.parts.dividing import check_new, whole
from fmalloc.lifecycle.parts.merging import Part, begin, open_parts, unite
from fmalloc.store.store import Store
from fmalloc.store.verification import WORK
from fmalloc_shared.commands.outputs import check_folder
from fmalloc_shared.commands.progress import console


def merge(paths: Sequence[Path], output: Path, *, dry_run: bool = False) -> None:
    """Unite the parts at `paths` in the new store `output`; they stay as they are. `dry_run`: only see if they fit.

    Raises FmallocError, with all reasons at once, if they do not, or if something lies at `output`.
    """
    check_new(output)
    parts = open_parts(paths)
    check_folder(output, sum(file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file()))
    for part in parts:
        names = ", ".join(part.chain.own_tasks) or "nothing was learned"
        console.print(f"{part.path}: {part.reservation}, head {part.chain.head}: {names}", markup=False)
    if dry_run:
        return
    with whole(output) as staged:
        store = begin(parts, staged)
        unite(store, parts)
        shutil.rmtree(staged / WORK, ignore_errors=True)
        Store.open(staged).verify()
    _show(Store.open(output), parts)


def _show(store: Store, parts: Sequence[Part]) -> None:
    chain, of = store.chain(), parts[0].reservation.of
    names = ", ".join(task.name for task in chain.tasks)
    console.print(f"{store.path}: {len(chain.tasks)} tasks: {names}", markup=False)
    if chain.reservation:
        missing = sorted({*range(1, of + 1)} - {*chain.reservation.parts})
        console.print(
            f"it is {chain.reservation} itself: the cells of part {', '.join(map(str, missing))} stay reserved",
            markup=False,
        )
    console.print(f"head {chain.head}", soft_wrap=True, highlight=False)
