"""The cell table: which task owns which memory cell of which feed-forward layer. numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmalloc_shared.errors import FmallocError

Mask = NDArray[np.bool_]
Cells = NDArray[np.int64]

GENERAL_OWNER = 0
_FREE = -1


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
    """Owner of every cell by layer, int64 of shape (width,): 0 for general, a task's order, or -1 for free."""

    owners: Mapping[str, Cells]

    @classmethod
    def general(cls, masks: Mapping[str, Mask]) -> "CellTable":
        """The table before any task: what pruning kept is general, the rest is free."""
        return cls({layer: np.where(mask, GENERAL_OWNER, _FREE) for layer, mask in masks.items()})

    def claim(self, order: int, cells: Mapping[str, Cells]) -> "CellTable":
        """The table after a task takes these cells; raise FmallocError if one of them is not free."""
        owners = {layer: owner.copy() for layer, owner in self.owners.items()}
        for layer, claimed in cells.items():
            if layer not in owners:
                raise FmallocError(f"layer {layer!r}: unknown, expected one of {', '.join(owners)}")
            taken = claimed[owners[layer][claimed] != _FREE]
            if taken.size:
                raise FmallocError(f"{layer}: cells {taken[:5].tolist()} are owned already, a cell has one owner")
            owners[layer][claimed] = order
        return CellTable(owners)

    def free(self, layer: str) -> Cells:
        """Ids of the cells that nobody owns, ascending."""
        return np.flatnonzero(self.owners[layer] == _FREE)

    def owned(self, layer: str, order: int) -> Cells:
        """Ids of the cells that `order` owns, ascending."""
        return np.flatnonzero(self.owners[layer] == order)

    def count(self, order: int) -> dict[str, int]:
        """Number of cells that `order` owns, by layer."""
        return {layer: int((owner == order).sum()) for layer, owner in self.owners.items()}

    def free_count(self) -> dict[str, int]:
        """Number of free cells, by layer."""
        return self.count(_FREE)
