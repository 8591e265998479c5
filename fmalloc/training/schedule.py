"""How long to train, how fast, and which state is the best. Free of torch, so that a recipe is read without it."""

import math
from dataclasses import dataclass
from typing import Literal

Selection = Literal["bleu", "nll"]


@dataclass(frozen=True)
class Schedule:
    """What the training loop reads of a run's settings; see LearningSettings and `fmalloc pretrain --help`."""

    updates: int
    warmup_updates: int
    validate_every: int
    seed: int
    patience: int | None = None
    clip_norm: float | None = None
    select_by: Selection = "nll"

    def rate(self, update: int) -> float:
        """Factor on the learning rate at an update counted from 0: linear warm-up, then proportional to update^-0.5."""
        step = update + 1
        return min(step / self.warmup_updates, math.sqrt(self.warmup_updates / step))
