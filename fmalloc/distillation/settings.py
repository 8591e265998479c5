"""How a student is made and learns."""

import math
import time
from dataclasses import dataclass

from fmalloc.training.schedule import Schedule
from fmalloc_shared.errors import FmallocError

UPDATES = 1000
_VALIDATIONS = 8


@dataclass(frozen=True)
class Limit:
    """How far a student learns for now: a share of its updates, and until a `deadline` of time.monotonic at most."""

    share: float = 1.0
    deadline: float = math.inf

    @property
    def pauses(self) -> bool:
        """Whether the student is to go on later."""
        return self.share < 1

    def passed(self) -> bool:
        """Whether the deadline has."""
        return time.monotonic() >= self.deadline

    def last(self, share: float) -> float:
        """When the last share begins of the time that is left from now on; endless time has none."""
        now = time.monotonic()
        return self.deadline if math.isinf(self.deadline) else self.deadline - share * max(0.0, self.deadline - now)


UNLIMITED = Limit()


@dataclass(frozen=True)
class DistillationSettings:
    """Depth, budget and rates; checked on construction, FmallocError for what is out of range.

    `depth`: decoder layers. `updates`: the budget, unless `minutes` is given. `batch_tokens`: padded tokens per batch,
    of the longer side. `warmup_updates`: at most; a tenth of the updates if that is less. `general_share`: of the
    batches, if there is general text. `rounded_share`: of the updates, the last ones, with weights as in int8.
    `maximum_length`: tokens per side. `translations`: the most sentences that the teacher translates.
    """

    depth: int = 2
    updates: int = UPDATES
    minutes: float | None = None
    batch_tokens: int = 2048
    learning_rate: float = 1e-3
    warmup_updates: int = 100
    clip_norm: float = 1.0
    general_share: float = 0.5
    rounded_share: float = 0.25
    maximum_length: int = 128
    translations: int = 20_000
    seed: int = 1

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise FmallocError(f"updates {self.updates}: expected 1 or more")
        if self.translations < 0:
            raise FmallocError(f"translations {self.translations}: expected 0 or more")
        if self.minutes is not None and not self.minutes > 0:
            raise FmallocError(f"minutes {self.minutes}: expected more than 0")
        for name in ("general_share", "rounded_share"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise FmallocError(f"{name} {share}: expected 0 to 1")

    def schedule(self, updates: int) -> Schedule:
        """Of a run of so many updates."""
        return Schedule(
            updates=updates,
            warmup_updates=max(1, min(self.warmup_updates, updates // 10)),
            validate_every=max(1, updates // _VALIDATIONS),
            seed=self.seed,
            clip_norm=self.clip_norm,
        )

    def paused_at(self, updates: int, share: float) -> int:
        """The update, of so many, by which a share of them is done: one after which is validated anyway, or the last.

        So a run that was paused there and went on ends as one that was not.
        """
        return updates if share == 1 else min(updates, round(share * _VALIDATIONS) * max(1, updates // _VALIDATIONS))

    def rounded_from(self, updates: int) -> int:
        """The first of so many updates, counted from 0, with weights as in int8."""
        return updates - round(self.rounded_share * updates)
