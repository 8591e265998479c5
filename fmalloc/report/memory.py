"""The picture of the memory: which cells belong to whom in every layer, and who reads what."""

from collections.abc import Mapping, Sequence

import numpy as np

from fmalloc.report.heat import shade
from fmalloc.report.markup import Html, element, figure, joined, paragraph, section
from fmalloc.report.numbers import NOTHING, part_of
from fmalloc.report.palette import FREE, Palette
from fmalloc.report.tables import cell, table
from fmalloc.store.cells import GENERAL_OWNER, CellTable, Mask
from fmalloc_shared.names import GENERAL


def memory_section(
    cells: CellTable,
    orders: Mapping[str, int],
    masks: Mapping[str, Mapping[str, Mask]],
    dead: Mapping[str, int],
    palette: Palette,
) -> Html:
    """Owners by layer as bars and as numbers, and how much of its own and of others' cells each domain switches on."""
    owners = {GENERAL: GENERAL_OWNER, **orders}
    counts = {name: cells.count(order) for name, order in owners.items()} | {FREE: cells.free_count()}
    return section(
        "memory",
        "The memory",
        paragraph(
            "Every feed-forward layer is a row of memory cells. Pruning freed those that matter least to general text; "
            "each domain then claimed some of the freed cells, and what is claimed is never written again."
        ),
        _bars(counts, palette),
        _reads(cells, owners, masks, palette) if orders else None,
        _numbers(counts, dead, palette),
    )


def _bars(counts: Mapping[str, Mapping[str, int]], palette: Palette) -> Html:
    domains = [name for name in counts if name not in (GENERAL, FREE)]
    rows = []
    for layer, kept in counts[GENERAL].items():
        freed = {name: counts[name][layer] for name in [*domains, FREE]}
        total = sum(freed.values())
        whole = {GENERAL: kept} | freed
        used = part_of(total - freed[FREE], total) if total else NOTHING
        rows.append((layer, _bar(layer, whole, palette), _bar(layer, freed, palette), used))
    header = ("layer", "all cells", "the freed cells", "claimed")
    return figure(
        "Who owns the cells of each layer",
        palette.legend([GENERAL, *domains, FREE]),
        table(None, header, rows, class_="bars"),
    )


def _bar(layer: str, counts: Mapping[str, int], palette: Palette) -> Html:
    """Owners side by side, each as wide as its share."""
    total, left, parts = max(1, sum(counts.values())), 0.0, []
    for name, count in counts.items():
        if count:
            width = 100 * count / total
            title = element("title", f"{layer}: {name} {count:,}")
            look = palette[name]
            rect = {"x": f"{left:.2f}%", "width": f"{width:.2f}%", "height": "100%"}
            parts.append(element("rect", title, **rect, fill=look.fill, stroke="#fff" if name != FREE else "none"))
            left += width
    spoken = f"{layer}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    return cell(element("svg", *parts, role="img", aria_label=spoken, class_="bar"), class_="picture")


def _reads(
    cells: CellTable, owners: Mapping[str, int], masks: Mapping[str, Mapping[str, Mask]], palette: Palette
) -> Html:
    totals = {owner: sum(cells.count(order).values()) for owner, order in owners.items()}
    rows: list[Sequence[Html]] = []
    for reader, mask in masks.items():
        on = {owner: _switched_on(cells, order, mask) for owner, order in owners.items()}
        rows.append((palette.name(reader), *(_share(reader, owner, on[owner], totals[owner]) for owner in owners)))
    header = ["domain", *(palette.name(owner) for owner in owners)]
    return joined(
        [
            table("Who reads what", header, rows, class_="heat"),
            paragraph(
                "Columns are owners: the share of their cells that each domain switches on. A domain may read cells of "
                "general and of domains learned before it, and writes none but its own. Its compiled model holds what "
                "it switches on, and nothing else.",
                class_="note",
            ),
        ]
    )


def _switched_on(cells: CellTable, order: int, mask: Mapping[str, Mask]) -> int:
    return sum(int(np.count_nonzero(mask[layer] & (owner == order))) for layer, owner in cells.owners.items())


def _share(reader: str, owner: str, count: int, total: int) -> Html:
    if not count:
        return cell(NOTHING, class_="none")
    title = f"{reader} switches on {count:,} of the {total:,} cells of {owner}"
    return cell(
        part_of(count, total), class_="own" if reader == owner else None, style=shade(0.6 * count / total), title=title
    )


def _numbers(counts: Mapping[str, Mapping[str, int]], dead: Mapping[str, int], palette: Palette) -> Html:
    layers = list(counts[GENERAL])
    header = ["layer", "width", *(palette.name(name) for name in counts), "dead in the base"]
    rows: list[list[str]] = []
    for layer in layers:
        owned = [count[layer] for count in counts.values()]
        rows.append([layer, *(f"{number:,}" for number in (sum(owned), *owned)), _dead(dead, layer)])
    totals = [sum(count.values()) for count in counts.values()]
    all_dead = f"{sum(dead.values()):,}" if dead else NOTHING
    rows.append(["all", *(f"{number:,}" for number in (sum(totals), *totals)), all_dead])
    return joined(
        [
            table("Cells by layer and owner", header, rows, class_="total"),
            paragraph("A dead cell never fired on the general text that importance was measured on.", class_="note"),
        ]
    )


def _dead(dead: Mapping[str, int], layer: str) -> str:
    return f"{dead[layer]:,}" if layer in dead else NOTHING
