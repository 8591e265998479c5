"""The experiment: every method on five domains of real text in two orders; writes results/learning.json.

Everything is kept below the work folder, so a killed run goes on where it stopped, and methods can be added later.
`fmalloc report --comparison WORK/comparison.json` shows the same runs as a page.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.common import Goal, versions, write_results
from fmalloc.methods import METHODS
from fmalloc.methods.comparison.compare import plan_of
from fmalloc.methods.comparison.record import Comparison
from fmalloc.methods.comparison.summary import Summary, summaries
from fmalloc.methods.comparison.table import comparison_table
from fmalloc_shared.commands.progress import console

RECIPE = Path("examples/learning/recipe.yaml")
ORDERS = ("it,koran,law,medical,captions", "captions,medical,law,koran,it")
_ONE_MODEL = ("sequential", "mixed", "l2", "ewc", "kd", "dynamic-kd", "hft", "k-fpf", "sparse-memory")
_OWN = ("fmalloc", "fmalloc-exclusive", "fmalloc-tfidf", "fmalloc-private")


def goals(comparison: Comparison) -> list[Goal]:
    """What is expected of the table; a run that is missing meets nothing."""
    rows = summaries(comparison)
    found: list[Goal] = []
    for name in _OWN:
        own = [row for row in rows if row.method == name]
        lost = max((row.forgetting_nll or 0.0 for row in own), default=None)
        goal = f"{name}: mean rise of earlier domains' NLL"
        found.append({"name": goal, "value": lost, "goal": "exactly 0", "met": lost == 0})
    for name in ("fmalloc", "fmalloc-private"):
        found += [_beats(rows, name, "nll"), _beats(rows, name, "bleu"), _gain(rows, name), _order(rows, name)]
    return found


def _beats(rows: Sequence[Summary], name: str, metric: str) -> Goal:
    """Is the method's average better than that of each method that ends with one model, on every order?"""
    sign = -1 if metric == "nll" else 1
    better = []
    for own in (row for row in rows if row.method == name):
        others = [row for row in rows if row.method in _ONE_MODEL and (row.order == own.order or row.method == "mixed")]
        margins = {row.method: sign * (getattr(own, metric) - getattr(row, metric)) for row in others}
        better.append(min(margins.items(), key=lambda margin: margin[1], default=("", float("-inf"))))
    worst = min(better, key=lambda margin: margin[1], default=("no run", float("-inf")))
    text = f"least margin over methods that end with one model, average {metric.upper()}"
    value = f"{worst[1]:+.3f} ({worst[0]})"
    return {"name": f"{name}: {text}", "value": value, "goal": "above 0", "met": worst[1] > 0}


def _gain(rows: Sequence[Summary], name: str) -> Goal:
    least = [row.least_gain for row in rows if row.method == name and row.least_gain is not None]
    value = min(least, default=None)
    text = f"{name}: least share of single fine-tuning's gain (NLL) of any domain"
    return {"name": text, "value": value, "goal": "at least 0.9", "met": value is not None and value >= 0.9}


def _order(rows: Sequence[Summary], name: str) -> Goal:
    averages = [row.bleu for row in rows if row.method == name and row.bleu is not None]
    value = max(averages) - min(averages) if len(averages) > 1 else None
    text = f"{name}: average BLEU, difference between orders"
    return {"name": text, "value": value, "goal": "below 0.5", "met": value is not None and value < 0.5}


def _payload(comparison: Comparison) -> dict[str, Any]:
    rows = [asdict(row) | {"mean_gain": row.mean_gain, "least_gain": row.least_gain} for row in summaries(comparison)]
    return {
        "versions": versions("torch", "transformers", "peft", "sacrebleu"),
        "summaries": rows,
        "comparison": comparison.model_dump(),
    }


@click.command()
@click.option("--corpora", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--base", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/learning"), show_default=True)
@click.option("--methods", default=",".join(METHODS), help="Comma-separated; all by default.")
@click.option("--finished", is_flag=True, help="Learn nothing more: write the results of the runs that are complete.")
def main(corpora: Path, base: Path, work: Path, methods: str, finished: bool) -> None:
    """Run what is missing, print the table, write results/learning.json."""
    os.environ |= {"CORPORA": str(corpora), "BASE": str(base)}
    comparison = plan_of(RECIPE, methods, ORDERS, work).compare(finished=finished)
    console.print(comparison_table(comparison))
    found = goals(comparison)
    console.print(found)
    write_results("learning", _payload(comparison), found)


if __name__ == "__main__":
    main()
