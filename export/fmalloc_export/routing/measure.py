"""What `fmalloc routing costs` does: measure, write, and show what a wrong domain costs."""

from collections.abc import Mapping
from pathlib import Path

from rich.table import Column, Table

from fmalloc_export.routing.costs import Measurement
from fmalloc_runtime.live.translator import EngineSettings
from fmalloc_runtime.routing.costs import Metric, RoutingCosts
from fmalloc_shared.commands.command import echo
from fmalloc_shared.commands.progress import bar
from fmalloc_shared.commands.terminal import Terminal
from fmalloc_shared.names import GENERAL


def measure_costs(
    bundles: Path,
    texts: Mapping[str, Path],
    sentences: int,
    beam_size: int,
    metric: Metric,
    device: str,
    threads: int,
    *,
    dry_run: bool,
) -> None:
    """Translate `sentences` of each domain's text with every live model, and write BUNDLES/routing.json."""
    measurement = Measurement.of(bundles, texts, lines=sentences, beam_size=beam_size)
    missing = measurement.missing
    for domain, text in measurement.texts.items():
        echo(f"{domain}: {len(text.pairs)} of {len(text.lines)} lines of dev, {measurement.live[domain].name}")
    if GENERAL not in measurement.live:
        echo(f"{GENERAL} is not live: uncertain text goes to the likeliest domain, so no threshold can help")
    total = sum(len(measurement.texts[domain].pairs) for _, domain in missing)
    known = len(measurement.live) ** 2 - len(missing)
    echo(f"{len(missing)} scores to measure, {total} lines to translate; {known} scores are known")
    if dry_run:
        return
    with bar("translate", total) as advance:
        measurement.complete(EngineSettings(device, intra_threads=threads), advance)
    costs = measurement.result(metric)
    measurement.write(costs)
    _show(costs)


def _show(costs: RoutingCosts) -> None:
    domains = sorted(costs.bundles)
    numbers = (Column(domain, justify="right") for domain in domains)
    table = Table("model", *numbers, title="BLEU / chrF of each model (rows) on each text (columns)")
    for model in domains:
        row = costs.matrix[model]
        table.add_row(model, *(f"{row[text].bleu:.2f} / {row[text].chrf:.2f}" for text in domains))
    Terminal(markup=False).print(table)
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
    Terminal(markup=False).print(losses)
