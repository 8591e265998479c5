"""The comparison of methods: what each reached on the same tasks, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from markupsafe import Markup

from fmalloc.methods.comparison.record import Comparison, MethodRun
from fmalloc.methods.comparison.summary import SINGLE, Summary, summaries
from fmalloc.report.drawing.palette import Palette, levels
from fmalloc.report.drawing.rendering import render
from fmalloc.report.scores import METRICS, Metric
from fmalloc.report.settings import setting_rows

_Values = list[float | None]
_HeatRow = tuple[str, list[tuple[float | None, float | None]]]


@dataclass(frozen=True)
class Result:
    """The runs of one method and what each comes to, one for each order of the tasks."""

    method: str
    runs: tuple[MethodRun, ...]
    summaries: tuple[Summary, ...]

    def mean(self, field: str) -> float | None:
        """The mean of a summary's field over orders; None if one of them has no value."""
        return _mean([getattr(summary, field) for summary in self.summaries])

    def last(self, metric: Metric, domain: str) -> float | None:
        """The score of a domain after the last task, the mean over orders."""
        return _mean([metric.of(run.rows[-1].scores.get(domain)) for run in self.runs])

    @property
    def trained_parameters(self) -> float:
        """The mean over tasks and orders."""
        totals = (sum(task.trained_parameters for task in run.learned.values()) / len(run.order) for run in self.runs)
        return mean(totals)


def comparison_section(comparison: Comparison, palette: Palette) -> Markup:
    """Quality and cost by method, scores by domain and by order, and the settings."""
    results = _results(comparison)
    orders = list(dict.fromkeys(tuple(run.order) for run in comparison.runs))
    bleu = levels([result.mean("bleu") for result in results])
    nll = levels([result.mean("nll") for result in results], lower_is_better=True)
    own = {result.method: result.runs[0].settings for result in results if result.runs[0].settings}
    return render(
        "comparison",
        palette=palette,
        base=comparison.base,
        pair=f"{comparison.languages.source} → {comparison.languages.target}",
        results=results,
        orders=orders,
        quality=list(zip(results, bleu, nll, strict=True)),
        single=SINGLE,
        domains=comparison.domains,
        by_domain=[(metric, _by_domain(comparison, results, metric)) for metric in _measured(comparison)],
        order_names=[f"order {number}" for number in range(1, len(orders) + 1)],
        by_order=_by_order(results, orders),
        sacrebleu=comparison.signatures,
        common=setting_rows(comparison.model_dump(include={"learning", "evaluation", "versions"})),
        own=setting_rows(own),
    )


def _results(comparison: Comparison) -> list[Result]:
    """Runs by method, methods in the order of the file."""
    pairs = list(zip(comparison.runs, summaries(comparison), strict=True))
    found = []
    for method in dict.fromkeys(run.method for run in comparison.runs):
        own = [(run, summary) for run, summary in pairs if run.method == method]
        found.append(Result(method, tuple(run for run, _ in own), tuple(summary for _, summary in own)))
    return found


def _mean(values: _Values) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


def _measured(comparison: Comparison) -> list[Metric]:
    rows = [comparison.base_scores, *(row.scores for run in comparison.runs for row in run.rows)]
    return [m for m in METRICS if any(m.of(score) is not None for scores in rows for score in scores.values())]


def _by_domain(comparison: Comparison, results: Sequence[Result], metric: Metric) -> list[_HeatRow]:
    domains = comparison.domains
    rows = {"base": [metric.of(comparison.base_scores.get(domain)) for domain in domains]}
    rows |= {result.method: [result.last(metric, domain) for domain in domains] for result in results}
    return _shaded(rows, metric)


def _by_order(results: Sequence[Result], orders: Sequence[tuple[str, ...]]) -> list[_HeatRow]:
    found = {result.method: {summary.order: summary.bleu for summary in result.summaries} for result in results}
    return _shaded({method: [bleu.get(order) for order in orders] for method, bleu in found.items()}, METRICS[0])


def _shaded(rows: dict[str, _Values], metric: Metric) -> list[_HeatRow]:
    """Each value with its level among those of its column."""
    shades = [levels(column, lower_is_better=metric.lower_is_better) for column in zip(*rows.values(), strict=True)]
    return [
        (name, list(zip(values, row, strict=True)))
        for (name, values), row in zip(rows.items(), zip(*shades, strict=True), strict=True)
    ]
