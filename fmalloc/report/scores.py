"""The score matrix as heat maps, and its measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from fmalloc.evaluation.matrix import Matrix, stability_gap
from fmalloc.evaluation.matrix import Metric as MatrixMetric
from fmalloc.report.drawing.palette import Palette, levels
from fmalloc.report.drawing.rendering import render
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.records import Score, Scores, StoreRecord, TaskRecord
from fmalloc_shared.names import GENERAL


@dataclass(frozen=True)
class Metric:
    """A field of a score: its name on the page, decimals, and which direction is better."""

    field: str
    title: str
    decimals: int = 2
    lower_is_better: bool = False

    def of(self, score: Score | None) -> float | None:
        """Its value; None where it was not measured."""
        value = getattr(score, self.field, None)
        return None if value is None else float(value)

    def interval(self, score: Score | None) -> str | None:
        """Its 95 % interval as text; None where there is none."""
        bounds = getattr(score, f"{self.field}_interval", None)
        return None if bounds is None else "–".join(f"{bound:.1f}" for bound in bounds)


METRICS = (
    Metric("bleu", "BLEU"),
    Metric("chrf", "chrF", 1),
    Metric("nll", "NLL, nats per target token (lower is better)", 3, lower_is_better=True),
)


@dataclass(frozen=True)
class Row:
    """The scores of one state of the store; `learned` is the domain that was learned last, None before the first.

    `proven`: domains whose score is an earlier row's, because model, text and search have the same hashes.
    """

    label: str
    learned: str | None
    scores: dict[str, Score]
    proven: Sequence[str] = ()

    @classmethod
    def of(cls, label: str, learned: str | None, scores: Scores) -> "Row":
        """From a record."""
        return cls(label, learned, scores.domains, scores.proven)


def scores_section(
    store: StoreRecord, tasks: Sequence[TaskRecord], served: Sequence[TaskRecord], palette: Palette
) -> Markup:
    """A heat map for each metric that was measured, then the measures, which are of the versions that are `served`."""
    rows = [
        Row.of("base", None, store.base_scores),
        Row.of("general, pruned", None, store.general_scores),
        *(Row.of(f"after {task.name}", domain_of(task.name), task.scores) for task in tasks),
    ]
    scored = {domain for row in rows for domain in row.scores}
    order = [GENERAL, *dict.fromkeys(domain_of(task.name) for task in tasks)]
    domains = [*(domain for domain in order if domain in scored), *sorted(scored - set(order))]
    shown = [m for m in METRICS if any(m.of(score) is not None for row in rows for score in row.scores.values())]
    return render(
        "scores",
        palette=palette,
        domains=domains,
        rows=rows,
        maps=[(metric, _levels(metric, rows, domains)) for metric in shown],
        sacrebleu=store.general_scores.signatures,
        measures=_measures(store, served) if tasks else None,
    )


def _levels(metric: Metric, rows: Sequence[Row], domains: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """The shade of each cell, by domain and label: each column has its own."""
    labels, found = [row.label for row in rows], {}
    for domain in domains:
        values = [metric.of(row.scores.get(domain)) for row in rows]
        found[domain] = dict(zip(labels, levels(values, lower_is_better=metric.lower_is_better), strict=True))
    return found


def _measures(store: StoreRecord, tasks: Sequence[TaskRecord]) -> dict[str, Any]:
    """The measures of the score matrix by metric, and the worst rise of an earlier domain's NLL."""
    names, scores = [domain_of(task.name) for task in tasks], [task.scores for task in tasks]
    metrics: tuple[MatrixMetric, ...] = ("bleu", "chrf", "nll")
    rises = stability_gap(names, {domain_of(task.name): task.curve for task in tasks}).values()
    return {
        **{metric: Matrix.of(names, scores, store.base_scores, metric).measures() for metric in metrics},
        "worst": max((rise for rise in rises if rise is not None), default=None),
    }
