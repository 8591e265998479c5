"""comparison.json: what several methods reached on the same tasks, budgets and test sets; see docs/formats.md."""

from typing import Any, Literal

from fmalloc.store.records import CurvePoint, Score
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.strict import StrictModel


class Learned(StrictModel):
    """How one task was learned. seconds: of wall clock, None if the learning was resumed after a stop."""

    INDENT = 1

    curve: list[CurvePoint]
    trained_parameters: int
    bytes: int
    seconds: float | None


class MethodRow(StrictModel):
    """Scores by domain after a task was learned: row i of the matrix R."""

    after: str
    scores: dict[str, Score]


class MethodRun(StrictModel):
    """One method on one order of the tasks."""

    method: str
    order: list[str]
    rows: list[MethodRow]
    learned: dict[str, Learned]
    capacity_used: float | None
    settings: dict[str, Any]


class Comparison(StrictModel):
    """All runs, and what they have in common."""

    INDENT = 1

    version: Literal[1] = 1
    base: str
    languages: LanguagePair
    domains: list[str]
    learning: dict[str, Any]
    evaluation: dict[str, Any]
    versions: dict[str, str]
    signatures: dict[str, str]
    base_scores: dict[str, Score]
    runs: list[MethodRun]
