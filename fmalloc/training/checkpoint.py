"""Checkpoints: all that resuming needs in one safetensors file, replaced atomically. A kill loses at most one interval.

The state of the loop is JSON in the file's metadata, those of the model and of the optimizer are tensors.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fmalloc.store.records import CurvePoint
from fmalloc.training.divergence import Trend
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and everything else as JSON-able values."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Replace `path` by this checkpoint."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        write_atomically(path, save(tensors, metadata={"state": json.dumps(self.state, sort_keys=True)}))

    @classmethod
    def read(cls, path: Path) -> "Checkpoint | None":
        """The checkpoint at `path`, or None if it does not exist; a damaged one is an error."""
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                state = json.loads(file.metadata()["state"])
                return cls({name: file.get_tensor(name) for name in file.keys()}, state)  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise FmallocError(f"{path}: damaged checkpoint ({error}); delete it to start this step again") from error


@dataclass
class Progress:
    """Where training stands: its validations, the index of the best one, and the losses since the last one.

    seconds: of running so far, where they are limited.
    """

    update: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    best: int = 0
    losses: list[float] = field(default_factory=list)
    trend: Trend | None = None
    done: bool = False
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        """JSON-able content."""
        return {**self.__dict__, "curve": [point.model_dump() for point in self.curve]}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Progress":
        """Undo `state`."""
        curve = [CurvePoint.model_validate(point) for point in state["curve"]]
        return cls(**{**state, "curve": curve, "trend": Trend(*state["trend"]) if state.get("trend") else None})


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state by flat name: `optimizer.<index of the parameter>.<key>`."""
    return {
        f"optimizer.{index}.{key}": value
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Undo `optimizer_tensors`; hyperparameters stay as they were constructed."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition(".")
        if prefix == "optimizer":
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class Interval:
    """When to write the next checkpoint: every minute, or every FMALLOC_CHECKPOINT_SECONDS."""

    def __init__(self) -> None:
        self.seconds = float(os.environ.get("FMALLOC_CHECKPOINT_SECONDS", "60"))
        self.last = time.monotonic()

    def passed(self) -> bool:
        """Whether it is time; if so, the interval begins anew."""
        now = time.monotonic()
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True
