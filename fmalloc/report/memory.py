"""The picture of the memory: which cells belong to whom in every layer, and who reads what."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from fmalloc.report.drawing.palette import FREE, RESERVED, Palette
from fmalloc.report.drawing.rendering import NOTHING, part_of, render
from fmalloc.report.ledger import read
from fmalloc.store.cells import GENERAL_OWNER, CellTable, Mask
from fmalloc_shared.names import GENERAL


def memory_section(
    cells: CellTable,
    orders: Mapping[str, int],
    masks: Mapping[str, Mapping[str, Mask]],
    dead: Mapping[str, int],
    palette: Palette,
) -> Markup:
    """Owners by layer as bars and as numbers, and how much of its own and of others' cells each domain switches on."""
    readable = {GENERAL: GENERAL_OWNER, **orders}
    counts = {name: cells.count(order) for name, order in readable.items()} | {FREE: cells.free_count()}
    if any(cells.reserved_count().values()):
        counts[RESERVED] = cells.reserved_count()
    by_layer = {layer: {name: count[layer] for name, count in counts.items()} for layer in cells.owners}
    numbers = {layer: list(owners.values()) for layer, owners in by_layer.items()}
    return render(
        "memory",
        palette=palette,
        FREE=FREE,
        owners=list(counts),
        bars=[_bars(layer, owners) for layer, owners in by_layer.items()],
        readable=list(readable),
        reads=_reads(cells, readable, masks) if orders else None,
        numbers=numbers | {"all": [sum(count.values()) for count in counts.values()]},
        dead={**dead, "all": sum(dead.values())} if dead else {},
    )


def _bars(layer: str, owners: Mapping[str, int]) -> dict[str, Any]:
    freed = {name: count for name, count in owners.items() if name != GENERAL}
    total = sum(freed.values())
    own = total - freed.get(RESERVED, 0)
    claimed = part_of(own - freed[FREE], own) if own else NOTHING
    return {"name": layer, "all": _parts(owners), "freed": _parts(freed), "claimed": claimed}


def _parts(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Where each owner's part of a bar begins, and its width, in per cent; none for owners of nothing."""
    total, left, parts = max(1, sum(counts.values())), 0.0, []
    for name, count in counts.items():
        if count:
            width = 100 * count / total
            parts.append({"name": name, "count": count, "left": left, "width": width})
            left += width
    return parts


def _reads(
    cells: CellTable, owners: Mapping[str, int], masks: Mapping[str, Mapping[str, Mask]]
) -> dict[str, dict[str, tuple[int, int]]]:
    """By reader and owner, how many of the owner's cells the reader switches on, and how many there are."""
    totals = {owner: sum(cells.count(order).values()) for owner, order in owners.items()}
    return {
        reader: {owner: (read(cells, order, mask), totals[owner]) for owner, order in owners.items()}
        for reader, mask in masks.items()
    }
