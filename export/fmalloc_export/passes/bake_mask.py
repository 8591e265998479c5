"""bake-mask: cut the cells that the domain switches off.

Exact: a masked cell adds 0 times its value, a missing cell adds nothing.
"""

from dataclasses import dataclass, replace

import numpy as np

from fmalloc_export.domain.model import DomainModel


@dataclass(frozen=True)
class BakeMask:
    """Afterwards every mask is True everywhere; a layer may be left without cells."""

    name: str = "bake-mask"
    exact: bool = True

    def explain(self, model: DomainModel) -> str:
        """How many cells would be left."""
        kept = sum(int(layer.mask.sum()) for layer in model.feed_forward)
        return f"would keep the {kept} of {sum(model.widths.values())} cells that the domain uses; nothing changes"

    def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
        """Slice fc1 rows, fc1 biases and fc2 columns in every layer."""
        baked = replace(
            model, feed_forward=tuple(layer.select(np.flatnonzero(layer.mask)) for layer in model.feed_forward)
        )
        before, after = sum(model.widths.values()), sum(baked.widths.values())
        return baked, f"kept {after} of {before} cells in {len(model.feed_forward)} layers"
