"""comparison.json: what several methods reached on the same tasks, budgets and test sets; see docs/formats.md."""

from typing import Any, Literal

from fmalloc.store.records import CurvePoint, Score
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.strict import StrictModel


class Learned(StrictModel):
    """How one task was learned."""

    INDENT = 1

    curve: list[CurvePoint]
    """What validation saw."""
    trained_parameters: int
    """How many."""
    bytes: int
    """Of the task's state."""
    seconds: float | None
    """Of wall clock; null if the learning was resumed."""


class MethodRow(StrictModel):
    """Scores by domain after a task was learned: a row of the score matrix."""

    after: str
    """The task that was learned last."""
    scores: dict[str, Score]
    """By domain."""


class MethodRun(StrictModel):
    """One method on one order of the tasks."""

    method: str
    """Name."""
    order: list[str]
    """Of the tasks."""
    rows: list[MethodRow]
    """One per task; one in all for a method that learns all tasks at once."""
    learned: dict[str, Learned]
    """By task."""
    capacity_used: float | None
    """Claimed share of the writable cells; null for methods without cells."""
    settings: dict[str, Any]
    """Of the method."""


class Comparison(StrictModel):
    """All runs, and what they have in common."""

    INDENT = 1

    version: Literal[1] = 1
    """Of this file."""
    base: str
    """Name of the base's folder."""
    languages: LanguagePair
    """Of the base."""
    domains: list[str]
    """All that are scored."""
    learning: dict[str, Any]
    """`learning` of the recipe."""
    evaluation: dict[str, Any]
    """`evaluation` of the recipe."""
    versions: dict[str, str]
    """Of the libraries."""
    signatures: dict[str, str]
    """Signature of sacreBLEU."""
    base_scores: dict[str, Score]
    """By domain."""
    runs: list[MethodRun]
    """One per method and order."""
