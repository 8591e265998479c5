"""A comparison as a table for the terminal."""

from rich.box import SIMPLE
from rich.table import Table

from fmalloc.methods.comparison.record import Comparison
from fmalloc.methods.comparison.summary import Summary, summaries

_COLUMNS = ("order", "BLEU", "chrF", "NLL", "general", "forgot", "forgot", "gain", "least", "MB")
_CAPTION = (
    "NLL in nats per target token; general: NLL of the general domain; forgot: share of the BLEU, and nats, that "
    "earlier domains lost; gain: share of the NLL that fine-tuning each domain alone gains, mean and least; "
    "MB: per task"
)


def comparison_table(comparison: Comparison) -> Table:
    """One row per run: averages over the learned domains after the last task, forgetting, and cost."""
    orders = list(dict.fromkeys(tuple(run.order) for run in comparison.runs))
    named = "; ".join(f"order {number}: {', '.join(order)}" for number, order in enumerate(orders, start=1))
    title = f"Learned domains after the last task; {named}"
    shown = Table(title=title, caption=_CAPTION, box=SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("method", no_wrap=True)
    for column in _COLUMNS:
        shown.add_column(column, justify="right")
    for summary in summaries(comparison):
        shown.add_row(summary.method, str(orders.index(summary.order) + 1), *_cells(summary))
    return shown


def _cells(summary: Summary) -> list[str]:
    return [
        _number(summary.bleu, ".2f"),
        _number(summary.chrf, ".1f"),
        _number(summary.nll, ".3f"),
        _number(summary.general_nll, ".3f"),
        _number(summary.forgetting_ratio, ".0%"),
        _number(summary.forgetting_nll, "+.3f"),
        _number(summary.mean_gain, ".0%"),
        _number(summary.least_gain, ".0%"),
        _number(summary.bytes / 1e6, ".2f"),
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
