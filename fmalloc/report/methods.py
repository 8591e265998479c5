"""The comparison of methods: what each reached on the same tasks, and what it cost."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from fmalloc.methods.comparison.record import Comparison, MethodRun
from fmalloc.methods.comparison.summary import SINGLE, Summary, summaries
from fmalloc.report.heat import levels, shade
from fmalloc.report.markup import Html, Node, element, joined, paragraph, section
from fmalloc.report.numbers import NOTHING, number, percent, signed
from fmalloc.report.palette import Palette
from fmalloc.report.scores import METRICS, Metric
from fmalloc.report.settings import settings_table
from fmalloc.report.tables import cell, table

_Values = list[float | None]


@dataclass(frozen=True)
class Result:
    """The runs of one method and what each comes to, one for each order of the tasks."""

    method: str
    runs: tuple[MethodRun, ...]
    summaries: tuple[Summary, ...]

    def mean(self, value: Callable[[Summary], float | None]) -> float | None:
        """The mean over orders; None if one of them has no value."""
        return _mean([value(summary) for summary in self.summaries])

    def last(self, metric: Metric, domain: str) -> float | None:
        """The score of a domain after the last task, the mean over orders."""
        return _mean([metric.of(run.rows[-1].scores.get(domain)) for run in self.runs])


def comparison_section(comparison: Comparison, palette: Palette) -> Html:
    """Quality and cost by method, scores by domain and by order, and the settings."""
    results = results_of(comparison)
    orders = list(dict.fromkeys(tuple(run.order) for run in comparison.runs))
    pair = f"{comparison.languages.source} → {comparison.languages.target}"
    methods = "1 method" if len(results) == 1 else f"{len(results)} methods"
    counted = "one order" if len(orders) == 1 else f"{len(orders)} orders, over which the figures are means"
    return section(
        "comparison",
        "Comparison of methods",
        paragraph(
            f"{methods} on the base {comparison.base}, {pair}, under one protocol: the same text, test sets and "
            f"budgets. The tasks were learned in {counted}."
        ),
        _quality(results),
        _cost(results),
        *(_by_domain(comparison, results, metric, palette) for metric in _measured(comparison)),
        _by_order(results, orders) if len(orders) > 1 else None,
        *(paragraph(f"{n}: ", element("code", s), class_="note") for n, s in sorted(comparison.signatures.items())),
        _settings(comparison, results),
    )


def results_of(comparison: Comparison) -> list[Result]:
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


def _quality(results: Sequence[Result]) -> Html:
    bleu, nll = [r.mean(lambda s: s.bleu) for r in results], [r.mean(lambda s: s.nll) for r in results]
    shades = zip(levels(bleu), levels(nll, less_is_better=True), strict=True)
    rows: list[list[Node]] = []
    for result, of_bleu, of_nll, (bleu_level, nll_level) in zip(results, bleu, nll, shades, strict=True):
        rows.append(
            [
                result.method,
                _shaded(of_bleu, bleu_level, 2),
                number(result.mean(lambda s: s.chrf), 1),
                _shaded(of_nll, nll_level, 3),
                percent(result.mean(lambda s: s.forgetting_ratio), 2),
                signed(result.mean(lambda s: s.forgetting_nll), 3),
                signed(result.mean(lambda s: s.stability_gap), 3),
                percent(result.mean(lambda s: s.mean_gain)),
                percent(result.mean(lambda s: s.least_gain)),
            ]
        )
    header = ("method", "BLEU", "chrF", "NLL", "forgetting", "in nats", "worst moment", "gain", "least gain")
    return joined(
        [
            table("Quality: averages over the tasks after the last", header, rows, class_="level"),
            paragraph(
                "Forgetting: the share of the BLEU that earlier tasks lost, and by how many nats a token their NLL "
                "rose. Worst moment: the largest rise of an earlier domain's dev NLL while a later one was learned. "
                f"Gain: the share of what fine-tuning one copy a task ({SINGLE}) gains in NLL, on average and for the "
                "task that follows it least.",
                class_="note",
            ),
        ]
    )


def _cost(results: Sequence[Result]) -> Html:
    rows = []
    for result in results:
        size = result.mean(lambda s: s.bytes / 1e6)
        trained = [sum(task.trained_parameters for task in r.learned.values()) / len(r.order) for r in result.runs]
        rows.append(
            [
                result.method,
                number(mean(trained), 0),
                number(size),
                number(result.mean(lambda s: s.seconds), 0),
                percent(result.mean(lambda s: s.capacity_used)),
            ]
        )
    header = ("method", "trained parameters", "MB", "seconds", "freed cells claimed")
    return table("Cost: means a task, and the room that is used after the last", header, rows)


def _by_domain(comparison: Comparison, results: Sequence[Result], metric: Metric, palette: Palette) -> Html:
    domains = comparison.domains
    rows: list[tuple[str, _Values]] = [("base", [metric.of(comparison.base_scores.get(d)) for d in domains])]
    rows += [(result.method, [result.last(metric, domain) for domain in domains]) for result in results]
    header = ["method", *(palette.name(domain) for domain in domains)]
    return _heat(f"By test set after the last task: {metric.title}", header, rows, metric)


def _by_order(results: Sequence[Result], orders: Sequence[tuple[str, ...]]) -> Html:
    rows = []
    for result in results:
        found = {summary.order: summary.bleu for summary in result.summaries}
        rows.append((result.method, [found.get(order) for order in orders]))
    header = ["method", *(f"order {index}" for index in range(1, len(orders) + 1))]
    named = (element("li", " → ".join(order)) for order in orders)
    return joined([_heat("Average BLEU by order", header, rows, METRICS[0]), element("ol", *named, class_="orders")])


def _heat(caption: str, header: Sequence[Node], rows: Iterable[tuple[str, _Values]], metric: Metric) -> Html:
    """A table with shades by column."""
    listed = list(rows)
    columns = [
        levels(column, less_is_better=metric.less_is_better)
        for column in zip(*(values for _, values in listed), strict=True)
    ]
    body = [
        [name, *(_shaded(value, column[index], metric.decimals) for value, column in zip(values, columns, strict=True))]
        for index, (name, values) in enumerate(listed)
    ]
    return table(caption, header, body, class_="heat")


def _shaded(value: float | None, level: float | None, decimals: int) -> Html:
    if value is None or level is None:
        return cell(NOTHING, class_="none")
    return cell(number(value, decimals), style=shade(level))


def _settings(comparison: Comparison, results: Sequence[Result]) -> Html:
    common = {
        "learning": comparison.learning,
        "evaluation": comparison.evaluation,
        "versions": comparison.versions,
    }
    own = {result.method: result.runs[0].settings for result in results if result.runs[0].settings}
    return joined(
        [
            settings_table("Settings and versions of the comparison", common),
            settings_table("Settings of the methods", own) if own else None,
        ]
    )
