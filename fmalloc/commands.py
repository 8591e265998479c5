"""Entry points of the commands that learn or look at a store; they import what they need when they run."""

import json
from pathlib import Path

import click

from fmalloc.methods import METHODS
from fmalloc_shared.command import Command, launch, needs


def train() -> None:
    """fmalloc-train"""
    launch("fmalloc.train", extra="train")


def pretrain() -> None:
    """fmalloc-pretrain"""
    launch("fmalloc.pretrain", extra="train")


@click.command(cls=Command)
@click.argument("store", type=click.Path(path_type=Path), default="store")
@click.option("--verify", is_flag=True, help="Hash every file again and compare.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(store: Path, verify: bool, as_json: bool) -> None:
    """Show a STORE's tasks, its cells a layer, its free capacity, the matrix of scores and what it says."""
    from fmalloc.report.status import print_status, status_of
    from fmalloc.store.store import Store

    opened = Store.open(store)
    if verify:
        opened.verify()
        click.echo(f"{store}: every file is as it was written", err=as_json)
    if as_json:
        click.echo(json.dumps(status_of(opened), indent=1, sort_keys=True, ensure_ascii=False))
    else:
        print_status(opened)


@click.command(cls=Command)
@click.argument("store", type=click.Path(path_type=Path), default="store")
@click.option(
    "--comparison", type=click.Path(path_type=Path), help="A comparison.json of fmalloc compare, to show beside it."
)
@click.option("--output", type=click.Path(path_type=Path), default="report.html", show_default=True)
def report(store: Path, comparison: Path | None, output: Path) -> None:
    """Write one HTML page on a STORE: its memory, scores, learning curves, free capacity and settings.

    The page loads nothing from anywhere, and the same store gives the same bytes.
    """
    from fmalloc.report.page import write_report

    write_report(store, output, comparison)


@click.command(cls=Command)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--methods", default="all", show_default=True, help=f"Comma-separated, of: {', '.join(METHODS)}.")
@click.option("--order", "orders", multiple=True, metavar="A,B,…", help="An order of the tasks; repeat it for more.")
@click.option("--output", type=click.Path(path_type=Path), default="comparison", show_default=True, help="Folder.")
@click.option("--updates", type=click.IntRange(1), help="Most updates a task (learning.updates).")
def compare(recipe: Path, methods: str, orders: tuple[str, ...], output: Path, updates: int | None) -> None:
    """Learn a RECIPE's tasks by several methods with the same data, budget and test sets, and print one table.

    Everything is kept below the output folder: a run that was stopped goes on, and methods can be added later.
    The result is comparison.json, which `fmalloc report --comparison` shows. Example:

    \b
        fmalloc compare recipe.yaml --methods single,sequential,ewc,fmalloc --order it,law --order law,it
    """
    needs("torch", "transformers", extra="train")
    from rich.console import Console

    from fmalloc.methods.comparison.compare import compare_recipe
    from fmalloc.methods.comparison.table import comparison_table

    Console().print(comparison_table(compare_recipe(recipe, methods, orders, output, updates)))
