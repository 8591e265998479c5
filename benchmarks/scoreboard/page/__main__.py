"""docs/benchmarks.md and its plots, of results/bench.json: `python -m benchmarks.scoreboard.page`."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.common import RESULTS
from benchmarks.pareto import Point, pareto
from benchmarks.scoreboard.overhead.overhead import least_same
from benchmarks.scoreboard.page.rows import Row, losses, rows_of
from benchmarks.scoreboard.servers.servers import ratios_of
from fmalloc_shared.commands.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically

DOCS = RESULTS.parent / "docs"
SPEED, SIZE = "benchmarks-speed.svg", "benchmarks-size.svg"
# What differs between us and those who win, by the figure and the group; no difference is measured alone.
_WHY = {
    (
        "BLEU",
        "fine-tuned",
    ): "Fine-tuning may change every weight for this one domain; a domain of fmalloc has the cells that pruning freed "
    "and its private parameters, and leaves all others as they are.",
    ("BLEU", "CTranslate2"): "The base was not pruned. Where the domain's text is close to the base's own, or learning "
    "was short, pruning and compacting cost more than the domain gains.",
    ("BLEU", "PyTorch"): "The same base, unpruned.",
    ("BLEU", "Marian"): "The same base, unpruned.",
    ("ms per sentence", "CTranslate2"): "The decoder's steps, attention and the output layer cost the same in both; "
    "cells are a part of the work. Text passes through our pipeline as well, which finds sentences and tokens.",
    ("ms per sentence", "fine-tuned"): "The same engine with all cells of the base.",
    (
        "ms per sentence",
        "Marian",
    ): "Marian runs its whole graph in C++ without Python, with kernels for small matrices.",
    ("words/s", "Marian"): "Marian runs its whole graph in C++ without Python, packs weights once, and takes sentences "
    "out of a batch as they end.",
    ("words/s", "CTranslate2"): "At large batches attention and the output layer weigh more than cells; our bundles "
    "translate sentences of a batch that are equally long together, so that no answer depends on its neighbours.",
    ("words/s", "fine-tuned"): "As for CTranslate2: our bundles translate equally long sentences together, so that no "
    "answer depends on its neighbours.",
    ("MB on disk", "CTranslate2"): "A bundle holds a tokenizer, golden translations and counts for routing beside the "
    "model.",
    ("MB on disk", "fine-tuned"): "A bundle holds a tokenizer, golden translations and counts for routing beside the "
    "model.",
    ("MB on disk", "Marian"): "The model alone, without a tokenizer.",
}


@click.command(cls=Command)
@click.option("--results", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=RESULTS / "bench.json")
@click.option("--output-dir", type=click.Path(path_type=Path, file_okay=False), default=DOCS, show_default=True)
def main(results: Path, output_dir: Path) -> None:
    """Write the page and its plots."""
    try:
        found = json.loads(results.read_text(encoding="utf-8"))
        files = written(found)
    except (KeyError, ValueError) as error:
        raise FmallocError(f"{results}: not of this version of the scoreboard: {error!r}") from error
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(output_dir / name, content.encode())
        click.echo(output_dir / name)
    subprocess.run([sys.executable, "-m", "mdformat", str(output_dir / "benchmarks.md")], check=True)


def written(found: Mapping[str, Any]) -> dict[str, str]:
    """Content of each file, by name."""
    translation = found["translation"]
    tables = {
        domain: {count: rows_of(measured, count) for count in measured["speed"]}
        for domain, measured in translation["domains"].items()
    }
    lost = {
        domain: {count: losses(rows) for count, rows in by_threads.items()} for domain, by_threads in tables.items()
    }
    causes = dict.fromkeys(
        (loss.what, loss.other.group)
        for by_threads in lost.values()
        for of_threads in by_threads.values()
        for loss in of_threads
    )
    page = _TEMPLATES.get_template("page.md.j2").render(
        found=found,
        translation=translation,
        tables=tables,
        shaped={count: rows_of(found["shape"], count) for count in found.get("shape", {}).get("speed", {})},
        lost=lost,
        why=[(what, group, _WHY[what, group]) for what, group in causes if (what, group) in _WHY],
        speed=SPEED,
        size=SIZE,
    )
    first = {domain: next(iter(by_threads.values())) for domain, by_threads in tables.items()}
    return {
        "benchmarks.md": page,
        SPEED: pareto(
            "Quality against speed, one thread",
            {domain: _points(rows, "words") for domain, rows in first.items()},
            "source words per second, batches of 32",
            more_is_better=True,
        ),
        SIZE: pareto(
            "Quality against size",
            {domain: _points(rows, "disk") for domain, rows in first.items()},
            "MB on disk",
            more_is_better=False,
        ),
    }


def _points(rows: list[Row], figure: str) -> list[Point]:
    return [Point(row.name, row.group, getattr(row, figure), row.bleu) for row in rows if row.bleu is not None]


def _number(value: float | None, decimals: int = 1) -> str:
    return "–" if value is None else f"{value:,.{decimals}f}"


def _spread(ratio: tuple[float, float, float]) -> str:
    return f"{ratio[0]:.2f} ({ratio[1]:.2f}–{ratio[2]:.2f})"


def _repeats(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _milliseconds(seconds: float | None) -> str:
    return _number(seconds and 1000 * seconds, 0)


def _size(item: tuple[str, Any]) -> int:
    return int(item[0])


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.globals["ratios"] = ratios_of
_TEMPLATES.filters |= {
    "number": _number,
    "spread": _spread,
    "repeats": _repeats,
    "same": least_same,
    "milliseconds": _milliseconds,
    "by_size": lambda sizes: sorted(sizes.items(), key=_size),
}


if __name__ == "__main__":
    main()
