"""docs/experiment.md, its plot and the first table of docs/results.md: `python -m benchmarks.experiment.page`.

All of them are made of results/experiment.json.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import click
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.common import RESULTS
from benchmarks.experiment.defaults import COPY
from benchmarks.experiment.page.rows import Row, rows_of
from benchmarks.experiment.runs import Named, by_seed, wanted
from benchmarks.pareto import Point, pareto
from fmalloc.methods import METHODS
from fmalloc.methods.comparison.record import Comparison
from fmalloc.store.records import Score
from fmalloc_shared.commands.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.names import GENERAL

DOCS = RESULTS.parent / "docs"
PAGE, PLOT, SUMMARY = "experiment.md", "experiment.svg", "results.md"
_TABLE = re.compile(r"(<!-- methods of results/experiment.json -->\n).*?(<!-- end of methods -->)", re.DOTALL)
_BASE, _OWN, _APART, _ONE_MODEL = "base", "fmalloc", "one state per domain", "one model for all"
_COLOURS = {_BASE: "#8a9499", _OWN: "#0067a5", _APART: "#e69a1f", _ONE_MODEL: "#d36ba0"}
_STATES = ("single", "lora", "adapter", "pte")


@click.command(cls=Command)
@click.option(
    "--results", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=RESULTS / "experiment.json"
)
@click.option("--output-dir", type=click.Path(path_type=Path, file_okay=False), default=DOCS, show_default=True)
def main(results: Path, output_dir: Path) -> None:
    """Write the page and its plot, and the table between its marks in results.md, if that is there."""
    try:
        files = written(json.loads(results.read_text(encoding="utf-8")))
    except (KeyError, ValueError) as error:
        raise FmallocError(f"{results}: not of this version of the experiment: {error!r}") from error
    output_dir.mkdir(parents=True, exist_ok=True)
    table = files.pop(SUMMARY)
    if (summary := output_dir / SUMMARY).is_file():
        page = summary.read_text(encoding="utf-8")
        files[SUMMARY] = _TABLE.sub(lambda marks: f"{marks[1]}\n{table}\n{marks[2]}", page)
    for name, content in files.items():
        write_atomically(output_dir / name, content.encode())
        click.echo(output_dir / name)
    pages = [str(output_dir / name) for name in files if name.endswith(".md")]
    subprocess.run([sys.executable, "-m", "mdformat", *pages], check=True)


def written(found: Mapping[str, Any]) -> dict[str, str]:
    """Content of each file, by name; of results.md its table."""
    runs = found["methods"]["runs"]
    comparisons = by_seed(runs)
    first = comparisons[min(comparisons)]
    rows, base = rows_of(comparisons), _base(first)
    done = {Named(run["method"], run["order"], run["seed"]) for run in runs}
    values = {
        "comparison": first,
        "first": first.runs[0],
        "orders": max(row.order for row in rows),
        "learning": first.learning,
        "evaluation": first.evaluation,
        "rates": found["rates"],
        "defaults": found.get("defaults"),
        "copy": next((one for one in found.get("defaults", {}).get("variants", ()) if one["name"] == COPY), None),
        "exposure": found.get("exposure"),
        "neighbours": found.get("neighbours"),
        "product": found.get("product"),
        "runs": runs,
        "machines": sorted({_machine(run["machine"]) for run in runs}),
        "missing": [one.name for one in wanted(list(METHODS), 2, 3) if one not in done],
        "rows": rows,
        "base": base,
        "goals": found["goals"],
        "plot": PLOT,
    }
    page, table = (_TEMPLATES.get_template(name).render(values) for name in ("page.md.j2", "methods.md.j2"))
    return {PAGE: page, PLOT: _plot(rows, base), SUMMARY: table}


def _base(comparison: Comparison) -> dict[str, float | None]:
    scores = [comparison.base_scores[domain] for domain in comparison.runs[0].order]
    losses = [score.nll for score in scores if score.nll is not None]
    return {
        "bleu": mean(score.bleu for score in scores),
        "chrf": mean(score.chrf for score in scores),
        "nll": mean(losses) if losses else None,
        "general": comparison.base_scores[GENERAL].bleu,
    }


def _plot(rows: Sequence[Row], base: Mapping[str, float | None]) -> str:
    points = [Point(_BASE, _BASE, base["general"] or 0.0, base["bleu"] or 0.0)]
    for row in rows:
        if row.order == 1 and row.bleu is not None and row.general is not None:
            group = _OWN if row.method.startswith(_OWN) else _APART if row.method in _STATES else _ONE_MODEL
            points.append(Point(row.method, group, row.general, row.bleu))
    return pareto(
        "Learned domains against general text",
        {"after the last domain": points},
        "BLEU on general text",
        y_label="average BLEU of the domains",
        more_is_better=True,
        colours=_COLOURS,
    )


def _machine(found: Mapping[str, Any]) -> str:
    device = "" if found["device"] == "cpu" else f", {found['device']}"
    return f"{found['cores']} core{'s' if found['cores'] != 1 else ''} of {found['cpu']}{device}"


def _number(value: float | None, decimals: int = 1) -> str:
    return "–" if value is None else f"{value:,.{decimals}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _interval(score: Score) -> str:
    around = "" if score.bleu_interval is None else f" ({score.bleu_interval[0]:.1f}–{score.bleu_interval[1]:.1f})"
    return f"{score.bleu:.2f}{around}"


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters |= {"number": _number, "percent": _percent, "interval": _interval}


if __name__ == "__main__":
    main()
