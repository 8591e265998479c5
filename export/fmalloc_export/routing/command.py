"""The command `fmalloc route-costs`; it imports what it needs when it runs."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fmalloc_shared.command import Command, needs
from fmalloc_shared.names import GENERAL

if TYPE_CHECKING:
    from fmalloc_runtime.routing.costs import Metric, RoutingCosts

_PATH = click.Path(path_type=Path)


@click.command(cls=Command)
@click.option("--bundles", type=_PATH, default=Path("bundles"), show_default=True, help="The directory with live.json.")
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="NAME=PATH",
    help="Text of a live domain: a folder with dev.tsv, or what dev is drawn from as fmalloc-train draws it.",
)
@click.option("--lines", type=click.IntRange(min=1), default=200, show_default=True, help="Translated of each text.")
@click.option("--beam-size", type=click.IntRange(min=1), default=4, show_default=True)
@click.option(
    "--metric",
    type=click.Choice(["bleu", "chrf"]),
    default="chrf",
    show_default=True,
    help="What a loss is counted in.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(min=0), default=0, help="CPU threads (0: the engine's choice).")
@click.option("--dry-run", is_flag=True, help="Check bundles and texts, say what would be translated, and stop.")
def route_costs(
    bundles: Path,
    texts: tuple[str, ...],
    lines: int,
    beam_size: int,
    metric: "Metric",
    device: str,
    threads: int,
    dry_run: bool,
) -> None:
    """Measure what a wrong domain costs, and set the router's threshold by it.

    The model of every live domain translates every domain's dev text. What text of one domain loses with the model of
    another, and how often the router takes one for the other, give the threshold on its posterior that loses
    least. Both are written to BUNDLES/routing.json, which the server reads. What is known already is not
    translated again: after a kill, or when a domain was added.

    \b
    fmalloc route-costs --bundles bundles --text general=corpora/general --text it=corpora/it
    """
    needs("torch", "sacrebleu", extra="export")
    from fmalloc.progress import bar
    from fmalloc_export.routing.costs import Measurement
    from fmalloc_runtime.live.translator import EngineSettings

    measurement = Measurement.of(bundles, _paths(texts), lines=lines, beam_size=beam_size)
    missing = measurement.missing
    for domain, text in measurement.texts.items():
        click.echo(f"{domain}: {len(text.pairs)} of {len(text.lines)} lines of dev, {measurement.live[domain].name}")
    if GENERAL not in measurement.live:
        click.echo(f"{GENERAL} is not live: uncertain text goes to the likeliest domain, so no threshold can help")
    total = sum(len(measurement.texts[domain].pairs) for _, domain in missing)
    known = len(measurement.live) ** 2 - len(missing)
    click.echo(f"{len(missing)} scores to measure, {total} lines to translate; {known} scores are known")
    if dry_run:
        return
    with bar("translate", total) as advance:
        measurement.complete(EngineSettings(device, intra_threads=threads), advance)
    costs = measurement.result(metric)
    measurement.write(costs)
    _show(costs)


def _paths(texts: Iterable[str]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for given in texts:
        name, equals, path = given.partition("=")
        if not (name and equals and path):
            raise click.UsageError(f"--text {given}: expected NAME=PATH, the domain and its text")
        if name in paths:
            raise click.UsageError(f"--text {name}=…: given twice")
        paths[name] = Path(path)
    return paths


def _show(costs: "RoutingCosts") -> None:
    from rich.console import Console
    from rich.table import Column, Table

    domains = sorted(costs.bundles)
    numbers = (Column(domain, justify="right") for domain in domains)
    table = Table("model", *numbers, title="BLEU / chrF of each model (rows) on each text (columns)")
    for model in domains:
        row = costs.matrix[model]
        table.add_row(model, *(f"{row[text].bleu:.2f} / {row[text].chrf:.2f}" for text in domains))
    Console().print(table)
    expected = costs.simulation.expected
    rows = [
        ("threshold 0: the likeliest always", expected.zero),
        (f"threshold {costs.simulation.default:.2f}, the default", expected.default),
        (f"threshold {costs.threshold:.2f}, chosen", expected.chosen),
        ("general always", expected.always_general),
        ("the best model for each domain", expected.oracle),
    ]
    title = f"{costs.metric} lost per document, {costs.simulation.documents} documents"
    losses = Table(Column(title, overflow="fold"), Column("", justify="right"))
    for name, value in rows:
        losses.add_row(name, "–" if value is None else f"{value:.3f}")
    Console().print(losses)
