"""`fmalloc routing costs`: its options."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag

if TYPE_CHECKING:
    from fmalloc_runtime.routing.costs import Metric


@click.command("costs", cls=Command, extra="export")
@click.argument("bundles", type=PATH, default=Path("bundles"))
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="NAME=PATH",
    help="Text of a live domain: a folder with dev, or what `fmalloc train` draws dev from; repeat it.",
)
@flag("--sentences", default=200, help="Sentences per text that are translated, evenly spaced.")
@flag("--beam-size")
@click.option("--metric", type=click.Choice(["bleu", "chrf"]), default="chrf", help="Metric that a loss is counted in.")
@flag("--device")
@flag("--threads")
@flag("--dry-run")
def costs(
    bundles: Path,
    texts: Sequence[str],
    sentences: int,
    beam_size: int,
    metric: "Metric",
    device: str,
    threads: int,
    dry_run: bool,
) -> None:
    """Measure what a wrong domain costs and set the threshold.

    The model of every live domain translates every domain's dev text. What text of one domain loses with the model of
    another, and how often the router takes one for the other, give the threshold on its posterior that loses least.
    Both go to BUNDLES/routing.json, which the server reads. What is known already is not translated again.

    It needs live bundles, ./bundles by default, and text of every live domain.

    \b
    Example:
      fmalloc routing costs bundles --text general=corpora/general --text it=corpora/it
    """
    from fmalloc_export.routing.measure import measure_costs

    measure_costs(bundles, _named(texts), sentences, beam_size, metric, device, threads, dry_run=dry_run)


def _named(texts: Sequence[str]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for given in texts:
        name, equals, path = given.partition("=")
        if not (name and equals and path):
            raise click.UsageError(f"--text {given}: expected NAME=PATH, the domain and its text")
        if name in paths:
            raise click.UsageError(f"--text {name}=…: given twice")
        paths[name] = Path(path)
    return paths
