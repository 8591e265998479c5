"""Where a training stands, besides its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fmalloc.divergence import Trend
from fmalloc.records import CurvePoint


@dataclass
class Progress:
    """Where training stands; together with the tensors all that resuming needs."""

    update: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    best: int = 0
    losses: list[float] = field(default_factory=list)
    trend: Trend | None = None
    done: bool = False

    def state(self) -> dict[str, Any]:
        """JSON-able content."""
        return {**self.__dict__, "curve": [point.model_dump() for point in self.curve]}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Progress":
        """Undo `state`."""
        curve = [CurvePoint.model_validate(point) for point in state["curve"]]
        return cls(**{**state, "curve": curve, "trend": Trend(*state["trend"]) if state.get("trend") else None})
