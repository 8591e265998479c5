"""The cell table: which task owns which memory cell of which feed-forward layer. numpy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmalloc_shared.errors import FmallocError

Mask = NDArray[np.bool_]
Cells = NDArray[np.int64]

GENERAL_OWNER = 0
FREE = -1
RESERVED_CELL = -2


def general_mask(importance: NDArray[np.float64], sparsity: float) -> Mask:
    """Switch off exactly round(sparsity * width) cells: those of smallest importance, ties by index.

    A quantile threshold would free far more where many importances are equal.
    """
    freed = round(sparsity * importance.size)
    mask = np.ones(importance.size, dtype=np.bool_)
    mask[np.argsort(importance, kind="stable")[:freed]] = False
    return mask


@dataclass(frozen=True)
class CellTable:
    """Owner of every cell by layer, int64 of shape (width,): 0 for general, a task's order, or -1 for free.

    Or -2 for cells that nobody owns, but that another part of a divided store may claim.
    """

    owners: Mapping[str, Cells]

    @classmethod
    def general(cls, masks: Mapping[str, Mask]) -> "CellTable":
        """The table before any task: what pruning kept is general, the rest is free."""
        return cls({layer: np.where(mask, GENERAL_OWNER, FREE) for layer, mask in masks.items()})

    def widened(self, widths: Mapping[str, int]) -> "CellTable":
        """The table of layers that were widened to `widths` by free cells."""
        return CellTable(
            {
                layer: np.concatenate([owner, np.full(widths[layer] - len(owner), FREE)])
                for layer, owner in self.owners.items()
            }
        )

    def claim(self, order: int, cells: Mapping[str, Cells]) -> "CellTable":
        """The table after a task takes these cells; raise FmallocError if one of them is not free."""
        owners = {layer: owner.copy() for layer, owner in self.owners.items()}
        for layer, claimed in cells.items():
            if layer not in owners:
                raise FmallocError(f"layer {layer!r}: unknown, expected one of {', '.join(owners)}")
            if (kept := claimed[owners[layer][claimed] == RESERVED_CELL]).size:
                raise FmallocError(f"{layer}: cells {kept[:5].tolist()} are reserved for other parts of the store")
            taken = claimed[owners[layer][claimed] != FREE]
            if taken.size:
                raise FmallocError(f"{layer}: cells {taken[:5].tolist()} are owned already, a cell has one owner")
            owners[layer][claimed] = order
        return CellTable(owners)

    def reserve(self, shares: Mapping[str, Cells], parts: Sequence[int]) -> "CellTable":
        """The table where free cells are reserved for others unless their share is one of `parts`."""
        return CellTable(
            {
                layer: np.where((owner == FREE) & ~np.isin(shares[layer], parts), RESERVED_CELL, owner)
                for layer, owner in self.owners.items()
            }
        )

    def free(self, layer: str) -> Cells:
        """Ids of the cells that may be claimed, ascending."""
        return np.flatnonzero(self.owners[layer] == FREE)

    def owned(self, layer: str, order: int) -> Cells:
        """Ids of the cells that `order` owns, ascending."""
        return np.flatnonzero(self.owners[layer] == order)

    def count(self, order: int) -> dict[str, int]:
        """Number of cells that `order` owns, by layer."""
        return {layer: int((owner == order).sum()) for layer, owner in self.owners.items()}

    def free_count(self) -> dict[str, int]:
        """Number of cells that may be claimed, by layer."""
        return self.count(FREE)

    def reserved_count(self) -> dict[str, int]:
        """Number of free cells that are reserved for others, by layer."""
        return self.count(RESERVED_CELL)
