"""How long to train, how fast, and which state is the best. Free of torch, so that a recipe is read without it."""

import math
from dataclasses import dataclass, replace
from typing import Literal

# Updates for which no limit of time is long enough.
ENDLESS = 10**9

Selection = Literal["bleu", "nll"]


@dataclass(frozen=True)
class Schedule:
    """What the training loop reads of a run's settings; see LearningSettings and `fmalloc pretrain --help`.

    cooldown: share of the updates, at their end, in which the rate falls evenly to 0. minutes: of the whole training;
    `updates` are then the most, and what fits is found while it runs.
    """

    updates: int
    warmup_updates: int
    validate_every: int
    seed: int
    patience: int | None = None
    clip_norm: float | None = None
    select_by: Selection = "nll"
    cooldown: float = 0.0
    minutes: float | None = None

    def rate(self, update: int) -> float:
        """Factor on the learning rate at an update counted from 0: linear warm-up, then proportional to update^-0.5.

        In the cool-down it is multiplied by what is left of that.
        """
        step = update + 1
        rate = min(step / self.warmup_updates, math.sqrt(self.warmup_updates / step))
        cooling = self.cooldown * self.updates
        return rate * min(1.0, (self.updates - update) / cooling) if cooling else rate

    def in_time(self, update: int, seconds: float, reserve: float) -> "Schedule":
        """This schedule with no more updates than fit into its minutes, where those so far took `seconds`.

        reserve: seconds that are needed after the last update.
        """
        if self.minutes is None or not update:
            return self
        fit = int((60 * self.minutes - reserve - seconds) * update / seconds)
        return replace(self, updates=min(self.updates, update + max(0, fit)))
