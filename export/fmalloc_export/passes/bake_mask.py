"""bake-mask: cut the cells that the domain switches off.

Exact: a masked cell adds 0 times its value, a missing cell adds nothing.
"""

from dataclasses import dataclass, replace

import numpy as np

from fmalloc_export.model import DomainModel, FeedForward


@dataclass(frozen=True)
class BakeMask:
    """Afterwards every mask is True everywhere; a layer may be left without cells."""

    name: str = "bake-mask"

    def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
        """Slice fc1 rows, fc1 biases and fc2 columns in every layer."""
        baked = replace(model, feed_forward=tuple(_bake(layer) for layer in model.feed_forward))
        before, after = sum(model.widths.values()), sum(baked.widths.values())
        return baked, f"kept {after} of {before} cells in {len(model.feed_forward)} layers"


def _bake(layer: FeedForward) -> FeedForward:
    mask = layer.mask
    return replace(
        layer,
        cells=layer.cells[mask],
        mask=mask[mask],
        fc1_weight=layer.fc1_weight[mask],
        fc1_bias=layer.fc1_bias[mask],
        fc2_weight=np.ascontiguousarray(layer.fc2_weight[:, mask]),
    )
