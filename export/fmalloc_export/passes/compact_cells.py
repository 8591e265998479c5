"""compact-cells: keep the cells that matter most to this domain, and let them do the work of the others.

All layers add to the same sum, so the number of cells per layer is chosen to lose as little variance as possible in all
of them together: a layer that adds little gives more of its cells away. Which cells go first is found once, with the
others' values adjusted to each loss (see saliency.py); for any share, fc2 is then fitted in closed form. Both take the
layers' inputs as they are before any layer is compacted, so that one pass over the text serves every share that is
tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_export.passes.base import Calibration
from fmalloc_export.passes.saliency import Ranking, refit


@dataclass(frozen=True)
class Rankings:
    """By layer, its cells in the order in which they can go; computed once for the same cells."""

    calibration: Calibration
    _known: dict[tuple[bytes, ...], dict[str, Ranking]] = field(default_factory=dict)

    def of(self, model: DomainModel) -> Mapping[str, Ranking]:
        """The rankings of a model before any of its layers is compacted."""
        if model.cut not in self._known:
            moments = self.calibration.moments(model)
            self._known[model.cut] = {
                layer.name: Ranking.of(moments[layer.name], layer.fc2_weight.T.astype(np.float64))
                for layer in model.feed_forward
            }
        return self._known[model.cut]


@dataclass(frozen=True)
class CompactCells:
    """Afterwards the share `keep` (0 to 1) of all cells is left, rounded; at least one per layer that had one."""

    rankings: Rankings
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
        """Cut cells and replace fc2 and its bias in every layer."""
        before = sum(model.widths.values())
        if round(self.keep * before) == before:
            return model, f"nothing to do: all {before} cells are kept"
        rankings = self.rankings.of(model)
        counts = allocate({name: ranking.losses for name, ranking in rankings.items()}, round(self.keep * before))
        done = [compact(layer, rankings[layer.name], counts[layer.name]) for layer in model.feed_forward]
        lost = [share for _, share in done]
        compacted = replace(model, feed_forward=tuple(layer for layer, _ in done))
        return compacted, (
            f"kept {sum(compacted.widths.values())} of {before} cells and fitted fc2 again; on calibration text the "
            f"layers' outputs lose {min(lost):.1%} to {max(lost):.1%} of their variance"
        )


def allocate(curves: Mapping[str, NDArray[np.float64]], total: int) -> dict[str, int]:
    """Cells by layer, `total` in all and at least one each, of the smallest sum of losses where curves are convex."""
    counts = {name: min(1, len(curve) - 1) for name, curve in curves.items()}
    # A further cell is worth what the loss falls by, and no more than the one before: it cannot be had without that.
    worth = {name: np.minimum.accumulate(-np.diff(curve[1:])) for name, curve in curves.items()}
    offers = [(-gain, place, name) for name, gains in worth.items() for place, gain in enumerate(gains)]
    for *_, name in sorted(offers)[: max(0, total - sum(counts.values()))]:
        counts[name] += 1
    return counts


def compact(layer: FeedForward, ranking: Ranking, count: int) -> tuple[FeedForward, float]:
    """The layer with its `count` most useful cells, and the share of its outputs' variance that is lost."""
    kept = ranking.kept(count)
    fitted = refit(ranking.moments, layer.fc2_weight.T.astype(np.float64), layer.fc2_bias.astype(np.float64), kept)
    smaller = replace(
        layer.select(kept),
        fc2_weight=np.ascontiguousarray(fitted.values.T, dtype=np.float32),
        fc2_bias=fitted.bias.astype(np.float32),
    )
    return smaller, fitted.lost_variance
