"""fmalloc compare: several methods under one protocol, and one table of what they reach."""

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import click
from rich.console import Console

from fmalloc.comparison import Comparison, Run
from fmalloc.job import Job
from fmalloc.methods import METHODS, method_of
from fmalloc.methods.run import base_scores, run_method
from fmalloc.methods.table import comparison_table
from fmalloc.progress import console
from fmalloc.recipe import Recipe, read_recipe
from fmalloc.records import LanguagePair, to_json
from fmalloc.store import writing
from fmalloc_shared.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files, write_atomically

_VERSIONS = ("fmalloc", "torch", "transformers", "sacrebleu")


def compare(recipe: Recipe, methods: Sequence[str], orders: Sequence[Sequence[str]], output: Path) -> Comparison:
    """Run every method on every order of the tasks; comparison.json is written anew after each run."""
    job, runs = Job.of(recipe), list[Run]()
    with writing(output):
        _same_base(job, output)
        untouched = base_scores(job, output / "base-scores")
        for number, order in enumerate(orders):
            ordered = _in_order(job, order)
            for name in methods:
                folder = output / (f"{name}-{'-'.join(order)}" if method_of(name).ordered else name)
                if number and not method_of(name).ordered:
                    continue
                console.rule(f"{name}: {', '.join(order)}")
                runs.append(run_method(ordered, name, folder))
                comparison = Comparison(
                    base=recipe.base.name,
                    languages=LanguagePair(source=job.languages.source, target=job.languages.target),
                    domains=list(job.corpora),
                    learning=recipe.learning.model_dump(),
                    evaluation=recipe.evaluation.model_dump(),
                    versions={package: version(package) for package in _VERSIONS},
                    signatures=next(iter(untouched.values())).signatures,
                    base_scores={domain: metrics.score for domain, metrics in untouched.items()},
                    runs=runs,
                )
                write_atomically(output / "comparison.json", to_json(comparison))
    return comparison


def _same_base(job: Job, output: Path) -> None:
    """Refuse a folder whose results were measured on another base."""
    path, text = output / "base.json", json.dumps(sha256_files(job.recipe.base), indent=1, sort_keys=True)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise FmallocError(f"{output}: holds results of another base than {job.recipe.base}; choose another --output")
    write_atomically(path, text.encode())


def _in_order(job: Job, order: Sequence[str]) -> Job:
    tasks = {task.name: task for task in job.recipe.tasks}
    if sorted(order) != sorted(tasks):
        raise FmallocError(f"--order {','.join(order)}: expected each of {', '.join(tasks)} once")
    recipe = job.recipe.model_copy(update={"tasks": [tasks[name] for name in order]})
    return replace(job, recipe=recipe)


@click.command(cls=Command)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--methods", default="all", show_default=True, help=f"Comma-separated: {', '.join(METHODS)}.")
@click.option("--order", "orders", multiple=True, metavar="A,B,…", help="An order of the tasks; repeat it for more.")
@click.option("--output", type=click.Path(path_type=Path), default="comparison", show_default=True, help="Folder.")
@click.option("--updates", type=click.IntRange(1), help="Most updates a task (learning.updates).")
def compare_command(recipe: Path, methods: str, orders: tuple[str, ...], output: Path, updates: int | None) -> None:
    """Learn a RECIPE's tasks by several methods with the same data, budget and test sets, and print one table.

    Everything is kept below the output folder: a run that was stopped goes on, and methods can be added later.
    The result is comparison.json, which `fmalloc report --comparison` shows. Example:

    \b
        fmalloc compare recipe.yaml --methods single,sequential,ewc,fmalloc --order it,law --order law,it
    """
    settings = read_recipe(recipe, {"learning.updates": updates} if updates else {})
    names = list(METHODS) if methods == "all" else [name.strip() for name in methods.split(",")]
    for name in names:
        method_of(name)
    chosen = [order.split(",") for order in orders] or [[task.name for task in settings.tasks]]
    comparison = compare(settings, names, chosen, output)
    Console().print(comparison_table(comparison))
