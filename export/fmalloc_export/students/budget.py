"""The time of a search, shared out over depths by successive halving (Jamieson and Talwalkar 2016).

All depths learn for an eighth of their time; the better half goes on to three eighths; the best one to the end. So a
trial is the beginning of the whole, and the depth that is taken has had most of the time.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fmalloc.distillation.settings import Limit
from fmalloc_export.students.points import Point

# Of the budget: for translations of the learned model, and then for learning. What is left compiles and measures.
_TRANSLATING, _LEARNING = 1 / 8, 5 / 8
# Of a student's time, by which trials end.
_TRIALS = (1 / 8, 3 / 8)
# The distance to the teacher falls by this power of the updates: 0.32 to 0.43 in results/distil.json, between an eighth
# of the updates and all of them.
_DECAY = 0.4


@dataclass(frozen=True)
class Round:
    """So many depths learn from one share of their time on to another."""

    depths: int
    begun: float
    share: float


def rounds(depths: int) -> tuple[Round, ...]:
    """Trials as long as there is a choice, then the one that is left to its end."""
    found, begun = [], 0.0
    for share in _TRIALS:
        if depths > 1:
            found.append(Round(depths, begun, share))
            depths, begun = -(-depths // 2), share
    return (*found, Round(1, begun, 1.0))


@dataclass(frozen=True)
class Budget:
    """`minutes` of the whole search among so many `depths`, which begin when the budget is made."""

    minutes: float
    depths: int
    begun: float

    @classmethod
    def of(cls, minutes: float, depths: int) -> "Budget":
        """Beginning now."""
        return cls(minutes, depths, time.monotonic())

    @property
    def each(self) -> float:
        """Minutes of a student that learns to its end."""
        return self.minutes * _LEARNING / sum(one.depths * (one.share - one.begun) for one in rounds(self.depths))

    @property
    def translating(self) -> Limit:
        """Until when the learned model translates."""
        return self._until(_TRANSLATING)

    @property
    def learning(self) -> Limit:
        """Until when the last student learns."""
        return self._until(_TRANSLATING + _LEARNING)

    @property
    def whole(self) -> Limit:
        """Until when all is done."""
        return self._until(1)

    def trial(self, one: Round) -> Limit:
        """Of one depth in a round, from now on."""
        return Limit(one.share, time.monotonic() + 60 * self.each * (one.share - one.begun))

    def explain(self) -> str:
        """Who learns for how long."""
        *trials, _ = rounds(self.depths)
        parts = [f"{one.depths} depths to {60 * self.each * one.share:.0f} seconds each" for one in trials]
        return (
            f"within {self.minutes:g} minutes: {self.minutes * _TRANSLATING:.1f} for the learned model's translations, "
            f"{self.minutes * _LEARNING:.1f} to learn ({', '.join([*parts, f'one to {self.each:.1f} minutes'])}), the "
            "rest to compile and measure"
        )

    def _until(self, share: float) -> Limit:
        return Limit(deadline=self.begun + 60 * self.minutes * share)


@dataclass(frozen=True)
class Trial:
    """A student after some of its updates: as emitted, and how far it is from its teacher on dev, in nats per token."""

    point: Point
    distance: float
    share: float

    @property
    def lost(self) -> float:
        """Points of BLEU or chrF, whichever is more."""
        return max(0.0, self.point.quality.bleu_drop.value, self.point.quality.chrf_drop.value)


def promising(trials: Sequence[Trial], bound: float, count: int) -> list[Trial]:
    """The `count` most promising: the fastest of those that may keep the bound in the end, then the best of the others.

    What a nat costs in points is gauged on all of them together: few sentences tell two models apart badly, and the
    distance on dev has next to no noise. It is expected to go on falling as it usually does.
    """
    price = sum(trial.lost for trial in trials) / max(1e-9, sum(max(0.0, trial.distance) for trial in trials))

    def expected(trial: Trial) -> float:
        return float(price * max(0.0, trial.distance) * trial.share**_DECAY)

    holding = [trial for trial in trials if expected(trial) <= bound]
    others = [trial for trial in trials if expected(trial) > bound]
    holding.sort(key=lambda trial: trial.point.milliseconds)
    return [*holding, *sorted(others, key=expected)][:count]
