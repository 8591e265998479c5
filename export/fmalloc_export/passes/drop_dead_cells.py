"""drop-dead-cells: cut the cells that never fire on the domain's own text.

No translation of that text changes: such a cell adds 0 at every position. It may fire on other text; how often is
bounded by the rule of three (0 of n observed: below 3/n with 95 % confidence, for positions drawn alike).
"""

from dataclasses import dataclass, replace

from fmalloc_export.domain.model import DomainModel
from fmalloc_export.passes.base import Calibration

# Functions that are exactly 0 for a whole range of inputs.
_EXACT_ZEROS = ("relu", "relu2", "relu6")


@dataclass(frozen=True)
class DropDeadCells:
    """Afterwards every cell fired at least once; a layer may be left without cells."""

    calibration: Calibration
    name: str = "drop-dead-cells"
    exact: bool = False

    def explain(self, model: DomainModel) -> str:
        """Whether the activation function has exact zeros."""
        if model.activation not in _EXACT_ZEROS:
            return f"does not apply: {model.activation} is nowhere exactly 0, so that every cell always adds something"
        return "would cut the cells that never fire on the calibration text; there, no translation changes"

    def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
        """Slice the cells away in every layer."""
        if model.activation not in _EXACT_ZEROS:
            return model, self.explain(model)
        fired = self.calibration.fired(model)
        dropped = replace(
            model, feed_forward=tuple(layer.select(fired[layer.name].nonzero()[0]) for layer in model.feed_forward)
        )
        cut = sum(model.widths.values()) - sum(dropped.widths.values())
        positions = min(self.calibration.positions())
        return dropped, (
            f"cut {cut} cells that never fire at {positions} or more positions of calibration text: nothing changes "
            f"there, and elsewhere each fires at fewer than {100 * min(1.0, 3 / positions):.2g} % of like positions "
            "(95 % confidence)"
        )
