"""A comparison as a table: one row a method and order."""

from collections.abc import Sequence

from rich.table import Table

from fmalloc.comparison import Comparison, Run


def comparison_table(comparison: Comparison) -> Table:
    """Average, forgetting and cost of every run."""
    shown = Table(
        "method",
        "order",
        "BLEU",
        "chrF",
        "NLL",
        "NLL forgotten",
        "MB a task",
        title="Averages over the learned domains",
    )
    for run in comparison.runs:
        tasks = list(run.order)
        last = run.rows[-1].scores
        size = sum(learned.bytes for learned in run.learned.values()) / len(tasks) / 1e6
        nlls = [last[task].nll for task in tasks]
        shown.add_row(
            run.method,
            ", ".join(tasks),
            f"{_mean([last[task].bleu for task in tasks]):.2f}",
            f"{_mean([last[task].chrf for task in tasks]):.1f}",
            f"{_mean([value for value in nlls if value is not None]):.3f}",
            _forgotten(run),
            f"{size:.2f}",
        )
    return shown


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _forgotten(run: Run) -> str:
    """Mean rise of the test NLL of earlier tasks from when each was learned to the end."""
    if len(run.rows) < 2:
        return "–"
    rises = []
    for row in run.rows[:-1]:
        then, now = row.scores[row.after].nll, run.rows[-1].scores[row.after].nll
        if then is not None and now is not None:
            rises.append(now - then)
    return f"{_mean(rises):+.3f}"
