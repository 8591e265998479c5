"""compact-cells: keep the cells that matter most to this domain, and let them do the work of the others.

The number of cells per layer is chosen to make every layer lose the same share of its outputs' variance. Layers are
compacted in order, each on the outputs of its compacted predecessors. The cells to remove are found one after another,
with the others' values adjusted to each loss (see saliency.py); then fc2 is fitted again in closed form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_export.passes.base import Calibration
from fmalloc_export.passes.saliency import Moments, eliminate, losses, refit


@dataclass(frozen=True)
class LossCurves:
    """By layer, the loss for every number of cells kept (see saliency.losses); computed once for the same cells."""

    calibration: Calibration
    _known: dict[tuple[bytes, ...], dict[str, NDArray[np.float64]]] = field(default_factory=dict)

    def of(self, model: DomainModel) -> Mapping[str, NDArray[np.float64]]:
        """The curves of a model before any of its layers is compacted."""
        key = tuple(layer.cells.tobytes() for layer in model.feed_forward)
        if key not in self._known:
            self._known[key] = {
                layer.name: losses(
                    Moments.of(self.calibration.activations(model, layer.name)), layer.fc2_weight.T.astype(np.float64)
                )
                for layer in model.feed_forward
            }
        return self._known[key]


@dataclass(frozen=True)
class CompactCells:
    """Afterwards the share `keep` (0 to 1) of all cells is left, rounded; at least one per layer that had one."""

    curves: LossCurves
    keep: float
    name: str = "compact-cells"
    exact: bool = False

    def explain(self, model: DomainModel) -> str:
        """How many cells would be left."""
        before = sum(model.widths.values())
        return (
            f"would keep the {round(self.keep * before)} cells of {before} that matter most on calibration text, "
            "and fit fc2 again"
        )

    def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
        """Cut cells and replace fc2 and its bias, layer by layer."""
        before = sum(model.widths.values())
        if round(self.keep * before) == before:
            return model, f"nothing to do: all {before} cells are kept"
        counts = allocate(self.curves.of(model), round(self.keep * before))
        lost = []
        compacted = model
        for index, layer in enumerate(model.feed_forward):
            activations = self.curves.calibration.activations(compacted, layer.name)
            smaller, share = compact(layer, activations, counts[layer.name])
            lost.append(share)
            layers = (*compacted.feed_forward[:index], smaller, *compacted.feed_forward[index + 1 :])
            compacted = replace(compacted, feed_forward=layers)
        return compacted, (
            f"kept {sum(compacted.widths.values())} of {before} cells and fitted fc2 again; on calibration text the "
            f"layers' outputs lose {min(lost):.1%} to {max(lost):.1%} of their variance"
        )


def allocate(curves: Mapping[str, NDArray[np.float64]], total: int) -> dict[str, int]:
    """Cells by layer, `total` in all and at least one each, with the smallest possible largest loss of a layer."""
    counts = {name: min(1, len(curve) - 1) for name, curve in curves.items()}
    # A further cell is worth what its layer loses without it. Curves never rise, so taking the largest is optimal.
    offers = [(-curve[kept], name) for name, curve in curves.items() for kept in range(1, len(curve) - 1)]
    for _, name in sorted(offers)[: max(0, total - sum(counts.values()))]:
        counts[name] += 1
    return counts


def compact(layer: FeedForward, activations: NDArray[np.float32], count: int) -> tuple[FeedForward, float]:
    """The layer with its `count` most useful cells, and the share of its outputs' variance that is lost.

    `activations` (positions, width): what the cells do on the domain's text.
    """
    moments = Moments.of(activations)
    values = layer.fc2_weight.T.astype(np.float64)
    kept = eliminate(moments, values, count).kept
    fitted = refit(moments, values, layer.fc2_bias.astype(np.float64), kept)
    smaller = replace(
        layer.select(kept),
        fc2_weight=np.ascontiguousarray(fitted.values.T, dtype=np.float32),
        fc2_bias=fitted.bias.astype(np.float32),
    )
    return smaller, fitted.lost_variance
