"""The ledger of a store: who reads whose cells, the bytes of each part, how many more domains fit, and what to do.

The forecast is that of fmalloc/report/capacity.py; its uncertainty is how much the domains so far differed.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from fmalloc.report.capacity import Forecast
from fmalloc.store.cells import GENERAL_OWNER, CellTable, Mask
from fmalloc.store.distilled import DISTILLED
from fmalloc.store.store import Store
from fmalloc_shared.commands.outputs import readable
from fmalloc_shared.names import GENERAL

_BASE, _GROWN, _STUDENTS = "base", "fresh cells", "distilled models"
_RECORDS, _WORK = "records", "unfinished work"
_STEP = 8


@dataclass(frozen=True)
class Ledger:
    """`readers`: by owner, reader and layer, how many of the owner's cells the reader's mask switches on.

    `sizes`: bytes on disk by part: the base, general, every task, fresh cells, distilled models, records,
    unfinished work.
    """

    readers: Mapping[str, Mapping[str, Mapping[str, int]]]
    sizes: Mapping[str, int]
    forecast: Forecast

    @classmethod
    def of(cls, store: Store) -> "Ledger":
        """From a store."""
        table, orders = store.cells(), {task.name: task.order for task in store.tasks()}
        owners = {GENERAL: GENERAL_OWNER} | orders
        masks = {name: store.mask(name) for name in orders}
        counts = {
            owner: {name: read_by_layer(table, order, mask) for name, mask in masks.items() if name != owner}
            for owner, order in owners.items()
        }
        readers = {
            owner: {name: layers for name, layers in found.items() if any(layers.values())}
            for owner, found in counts.items()
        }
        return cls(readers, dict(_sizes(store.path, list(orders))), Forecast.of(table, orders))

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        room = self.forecast.range
        return {
            "readers": self.readers,
            "bytes": dict(self.sizes),
            "room": dict(zip(("least", "middle", "most"), room, strict=True)) if room else None,
        }


def read_by_layer(table: CellTable, order: int, mask: Mapping[str, Mask]) -> dict[str, int]:
    """How many cells of an owner a mask switches on; masks of before a growth are shorter than the table."""
    owned = {layer: owner[: len(mask[layer])] == order for layer, owner in table.owners.items()}
    return {layer: int(np.count_nonzero(own & mask[layer])) for layer, own in owned.items()}


def read(table: CellTable, order: int, mask: Mapping[str, Mask]) -> int:
    """As read_by_layer, in all."""
    return sum(read_by_layer(table, order, mask).values())


def _sizes(store: Path, tasks: Sequence[str]) -> Iterator[tuple[str, int]]:
    yield _BASE, _size(store / "base")
    yield GENERAL, sum(_size(store / name) for name in ("general.safetensors", "routing.safetensors", "samples.jsonl"))
    for name in tasks:
        yield name, _size(store / "tasks" / name)
    yield _GROWN, _size(store / "grown")
    yield _STUDENTS, _size(store / DISTILLED)
    yield _RECORDS, sum(_size(store / name) for name in ("store.json", "head.json", "freed", "merged", "reserved"))
    yield _WORK, _size(store / ".work")


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(_size(entry) for entry in path.iterdir() if not entry.is_symlink())
    return path.stat().st_size if path.is_file() else 0


def ledger_table(ledger: Ledger, cells: Mapping[str, int], label: Callable[[str], str] = str) -> Table:
    """One row per part: `cells` that it owns in all layers, who reads them, and its bytes; `label`: of a task."""
    shown = Table("part", "cells", "read by (cells)", "bytes", title="Ledger")
    for part, size in ledger.sizes.items():
        if size or part in cells:
            readers = ledger.readers.get(part, {})
            named = ", ".join(f"{label(name)} ({sum(counts.values())})" for name, counts in readers.items())
            shown.add_row(label(part), str(cells[part]) if part in cells else "", named or "–", readable(size))
    shown.add_section()
    shown.add_row("all", "", "", readable(sum(ledger.sizes.values())))
    shown.caption = f"room for {ledger.forecast}{_basis(ledger.forecast)}"
    return shown


def _basis(forecast: Forecast) -> str:
    count = len(forecast.fits)
    if not count:
        return ", no domain has claimed cells yet"
    return f" like the {f'{count} domains' if count > 1 else 'one domain'} so far"


def shortage(store: Store, planned: Sequence[str]) -> str | None:
    """What is said before tasks are learned that are not likely to fit, with what to do; None if all will.

    `planned`: those that are not learned yet, in their order.
    """
    orders = {task.name: task.order for task in store.tasks()}
    table = store.cells()
    forecast = Forecast.of(table, orders)
    if forecast.range is None or len(planned) <= forecast.range[0]:
        return None
    least, _, most = forecast.range
    sure = len(planned) > most
    late = planned[most if sure else least :]
    verb = "will not fit" if sure else "may not fit"
    missing = _missing(forecast, table.free_count(), len(planned))
    advice = [f"`fmalloc grow {store.path} --cells {missing}`"] if missing else []
    advice.append("learning.private, which takes no cells")
    readers = Ledger.of(store).readers
    label = store.chain().versions.label
    unread = [f"{label(name)} ({sum(forecast.claims[name].values())} cells)" for name in orders if not readers[name]]
    if unread:
        advice.append(f"`fmalloc free {store.path} NAME`, of what nobody reads: {', '.join(unread)}")
    return (
        f"{', '.join(late)} {verb}: there is room for {forecast}{_basis(forecast)}, {len(planned)} are to be learned. "
        f"Each is learned with what is left to it. More room: {'; '.join(advice)}"
    )


def _missing(forecast: Forecast, free: Mapping[str, int], count: int) -> int:
    """How many cells each layer would have to be widened by, for `count` domains of the median claim."""
    claims = [claim for claim in forecast.claims.values() if any(claim.values())]
    needed = (count * statistics.median(claim[layer] for claim in claims) - free[layer] for layer in free)
    return max(0, math.ceil(max(needed) / _STEP) * _STEP)
