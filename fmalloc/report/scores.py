"""The matrix of scores as heat maps: every domain's test set, before the first task and after each."""

from collections.abc import Sequence
from dataclasses import dataclass

from fmalloc.report.heat import levels, shade
from fmalloc.report.markup import Html, Node, element, joined, paragraph
from fmalloc.report.numbers import NOTHING
from fmalloc.report.palette import Palette
from fmalloc.report.tables import cell, table
from fmalloc.store.records import Score, StoreRecord, TaskRecord
from fmalloc_shared.names import GENERAL


@dataclass(frozen=True)
class Metric:
    """A field of a score: its name on the page, decimals, and which direction is better."""

    field: str
    title: str
    decimals: int = 2
    less_is_better: bool = False

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
    Metric("nll", "NLL, nats a target token (less is better)", 3, less_is_better=True),
)


@dataclass(frozen=True)
class Row:
    """The scores of one state of the store; `learned` is the domain that was learned last, None before the first."""

    label: str
    learned: str | None
    scores: dict[str, Score]


def matrix(store: StoreRecord, tasks: Sequence[TaskRecord]) -> tuple[Row, ...]:
    """All rows: the base, the pruned general model, and the store after each task."""
    first = (
        Row("base", None, store.base_scores.domains),
        Row("general, pruned", None, store.general_scores.domains),
    )
    return *first, *(Row(f"after {task.name}", task.name, task.scores.domains) for task in tasks)


def domains_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Domains with a score: general, those learned in their order, then others by name."""
    learned = [row.learned for row in rows if row.learned]
    found = {domain for row in rows for domain in row.scores}
    order = [GENERAL, *learned]
    return (*(domain for domain in order if domain in found), *sorted(found - set(order)))


def heat_maps(rows: Sequence[Row], palette: Palette, signatures: dict[str, str]) -> Html:
    """A heat map for each metric that was measured."""
    domains = domains_of(rows)
    shown = [m for m in METRICS if any(m.of(row.scores.get(domain)) is not None for row in rows for domain in domains)]
    maps = (_heat_map(metric, rows, domains, palette) for metric in shown)
    note = paragraph(
        "Rows are states of the store, columns test sets. Each column has its own shades: the darkest is its best "
        "score. A frame marks the domain that was just learned.",
        class_="note",
    )
    signed = (paragraph(f"{n}: ", element("code", s), class_="note") for n, s in sorted(signatures.items()))
    return joined([*maps, note, *signed])


def _heat_map(metric: Metric, rows: Sequence[Row], domains: Sequence[str], palette: Palette) -> Html:
    columns = {
        domain: levels([metric.of(row.scores.get(domain)) for row in rows], less_is_better=metric.less_is_better)
        for domain in domains
    }
    body: list[list[Node]] = []
    for index, row in enumerate(rows):
        cells = (_cell(metric, row, domain, columns[domain][index]) for domain in domains)
        body.append([row.label, *cells])
    return table(metric.title, ["model", *(palette.name(domain) for domain in domains)], body, class_="heat")


def _cell(metric: Metric, row: Row, domain: str, level: float | None) -> Html:
    score = row.scores.get(domain)
    value = metric.of(score)
    if value is None or level is None:
        return cell(NOTHING, class_="none")
    interval = metric.interval(score)
    small = element("small", interval) if interval else None
    text = f"{value:.{metric.decimals}f}"
    title = f"{domain}, {row.label}: {text}" + (f", 95 % interval {interval}" if interval else "")
    return cell(text, small, class_="own" if domain == row.learned else None, style=shade(level), title=title)
