"""Measures of a score matrix: average, forgetting, transfer, the gain reached, and the use of capacity.

R[i][j] is the score on task j after learning task i of T, b[j] that of the base before any, S[j] that of a copy of the
base that was fine-tuned on task j only. Higher is better: an NLL is taken with its sign turned. What cannot be
computed is None, never 0: a score is missing (of a domain that was added later), or a divisor is 0 or less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Literal

from fmalloc.store.cells import GENERAL_OWNER, CellTable
from fmalloc.store.records import CurvePoint, Score, Scores

Metric = Literal["bleu", "chrf", "nll"]


@dataclass(frozen=True)
class Measures:
    """One number each; see Matrix."""

    average: float | None
    forgetting_ratio: float | None
    forgetting: float | None
    backward_transfer: float | None
    forward_transfer: float | None


@dataclass(frozen=True)
class Matrix:
    """R by one metric: rows[i] after learning tasks[i]; `base` is b. Domains that were not scored are missing."""

    tasks: Sequence[str]
    rows: Sequence[Mapping[str, float]]
    base: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, tasks: Sequence[str], rows: Sequence[Scores], base: Scores | None = None, metric: Metric = "bleu"
    ) -> "Matrix":
        """The matrix of one metric, from rows as a store or a comparison holds them."""
        values = [_values(row.domains, metric) for row in rows]
        return cls(tuple(tasks), values, _values(base.domains, metric) if base else {})

    def average(self) -> float | None:
        """mean over j of R[T][j] (METHOD, section 6)."""
        return _mean([self.rows[-1].get(task) for task in self.tasks]) if self.rows else None

    def forgetting_ratio(self) -> float | None:
        """mean over j < T of (R[j][j] - R[T][j]) / R[j][j] (Wu et al., 2024); None where an R[j][j] is 0 or less."""
        return _mean([_ratio(lost, learned) for learned, lost in self._lost()])

    def forgetting(self) -> float | None:
        """mean over j < T of R[j][j] - R[T][j], in points: also for an NLL, and where scores are 0."""
        return _mean([lost for _, lost in self._lost()])

    def backward_transfer(self) -> float | None:
        """mean over j < T of R[T][j] - R[j][j] (Lopez-Paz and Ranzato, 2017)."""
        forgetting = self.forgetting()
        return None if forgetting is None else 0.0 - forgetting

    def forward_transfer(self) -> float | None:
        """mean over j > 1 of R[j-1][j] - b[j] (Lopez-Paz and Ranzato, 2017): what earlier tasks gave it."""
        later = zip(self.rows, self.tasks[1:], strict=False)
        return _mean([_less(row.get(task), self.base.get(task)) for row, task in later])

    def measures(self) -> Measures:
        """Every measure that needs no other model."""
        return Measures(
            average=self.average(),
            forgetting_ratio=self.forgetting_ratio(),
            forgetting=self.forgetting(),
            backward_transfer=self.backward_transfer(),
            forward_transfer=self.forward_transfer(),
        )

    def gain_reached(self, single: Mapping[str, float]) -> dict[str, float | None]:
        """By task (R[j][j] - b[j]) / (S[j] - b[j]): the share of fine-tuning's gain; None where that gains nothing."""
        return {
            task: _ratio(_less(row.get(task), self.base.get(task)), _less(single.get(task), self.base.get(task)))
            for task, row in zip(self.tasks, self.rows, strict=True)
        }

    def _lost(self) -> list[tuple[float | None, float | None]]:
        """For each task but the last: R[j][j], and by how much it fell until the end."""
        learned = [row.get(task) for row, task in zip(self.rows[:-1], self.tasks, strict=False)]
        return [
            (value, _less(value, self.rows[-1].get(task))) for value, task in zip(learned, self.tasks, strict=False)
        ]


def _values(domains: Mapping[str, Score], metric: Metric) -> dict[str, float]:
    """The scores that there are, higher better."""
    if metric == "nll":
        return {name: -score.nll for name, score in domains.items() if score.nll is not None}
    return {name: getattr(score, metric) for name, score in domains.items()}


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _ratio(value: float | None, whole: float | None) -> float | None:
    return None if value is None or whole is None or whole <= 0 else value / whole


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


def stability_gap(tasks: Sequence[str], curves: Mapping[str, Sequence[CurvePoint]]) -> dict[str, float | None]:
    """By domain the worst rise of its dev NLL, in nats, while later tasks were learned (De Lange et al., 2023).

    It is counted from the first time that the domain was looked at, validation 0 of the task after it. `curves` by
    task, `tasks` in the order of learning. None for a domain that nothing looked at, as the last task is.
    """
    seen: dict[str, list[float]] = {task: [] for task in tasks}
    for task in tasks:
        for point in curves.get(task, ()):
            for domain, nll in point.earlier.items():
                seen.setdefault(domain, []).append(nll)
    return {domain: max(values) - values[0] if values else None for domain, values in seen.items()}


@dataclass(frozen=True)
class Capacity:
    """Claimed share of the writable cells, None where there are none; and how many are free."""

    used: float | None
    used_by_layer: dict[str, float | None]
    free: dict[str, int]

    @classmethod
    def of(cls, table: CellTable) -> "Capacity":
        """From a store's cell table: writable is what is neither general's nor reserved for others."""
        general, reserved, free = table.count(GENERAL_OWNER), table.reserved_count(), table.free_count()
        writable = {layer: len(own) - general[layer] - reserved[layer] for layer, own in table.owners.items()}
        used = {layer: _ratio(count - free[layer], count) for layer, count in writable.items()}
        total = sum(writable.values())
        return cls(_ratio(total - sum(free.values()), total), used, free)
