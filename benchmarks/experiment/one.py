"""One run of the experiment, in a process of its own: `python -m benchmarks.experiment.one METHOD ORDER SEED …`."""

import json
from pathlib import Path

import click

from benchmarks.experiment.runs import Named, Runs
from benchmarks.experiment.setting import RECIPE, Setting
from fmalloc.methods import METHODS
from fmalloc_shared.commands.command import Command

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(cls=Command)
@click.argument("method", type=click.Choice(list(METHODS)))
@click.argument("order", type=click.IntRange(1, 2))
@click.argument("seed", type=click.IntRange(1))
@click.option("--base", type=FOLDER, required=True)
@click.option("--corpora", type=FOLDER, required=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--recipe", type=click.Path(path_type=Path, exists=True), default=RECIPE)
@click.option("--updates", type=click.IntRange(1))
@click.option("--rates", type=click.Path(path_type=Path, exists=True), required=True, help="Chosen, by method; JSON.")
def main(
    method: str,
    order: int,
    seed: int,
    base: Path,
    corpora: Path,
    work: Path,
    recipe: Path,
    updates: int | None,
    rates: Path,
) -> None:
    """Learn all domains by one method and keep the record."""
    setting = Setting(base, corpora, work, recipe, updates)
    Runs(setting, json.loads(rates.read_text())).one(Named(method, order, seed))


if __name__ == "__main__":
    main()
