"""pad-width: fill each layer up with zero cells to a width that the engine can take.

Exact: a zero cell adds f(0) times 0. No layer stays empty, because engines crash on width 0.
"""

from dataclasses import dataclass, replace

import numpy as np

from fmalloc_export.domain.model import PADDING, DomainModel, FeedForward


@dataclass(frozen=True)
class PadWidth:
    """Afterwards every width is a positive multiple of `multiple`."""

    multiple: int
    name: str = "pad-width"
    exact: bool = True

    def explain(self, model: DomainModel) -> str:
        """The multiple that widths would be filled up to."""
        del model
        return f"would fill every width up to a positive multiple of {self.multiple}; nothing changes"

    def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
        """Append zero cells, with id -1, to every layer that needs some."""
        padded = replace(model, feed_forward=tuple(self._pad(layer) for layer in model.feed_forward))
        added = sum(padded.widths.values()) - sum(model.widths.values())
        if added == 0:
            return padded, f"nothing to do: all widths are positive multiples of {self.multiple}"
        layers = sum(padded.widths[name] != width for name, width in model.widths.items())
        return padded, f"added {added} zero cells in {layers} layers: widths are multiples of {self.multiple}"

    def _pad(self, layer: FeedForward) -> FeedForward:
        added = max(1, -(-layer.width // self.multiple)) * self.multiple - layer.width
        return replace(
            layer,
            cells=np.pad(layer.cells, (0, added), constant_values=PADDING),
            mask=np.pad(layer.mask, (0, added), constant_values=True),
            fc1_weight=np.pad(layer.fc1_weight, ((0, added), (0, 0))),
            fc1_bias=np.pad(layer.fc1_bias, (0, added)),
            fc2_weight=np.pad(layer.fc2_weight, ((0, 0), (0, added))),
        )
