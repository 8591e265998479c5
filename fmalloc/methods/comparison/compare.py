"""fmalloc compare: runs several methods under one protocol and keeps comparison.json."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fmalloc.learning.run import Run
from fmalloc.methods import METHODS, method_of
from fmalloc.methods.comparison.record import Comparison, MethodRun
from fmalloc.methods.comparison.run import base_scores, is_finished, run_method, settings_of
from fmalloc.model.devices import versions
from fmalloc.progress import console
from fmalloc.recipe import Recipe, read_recipe
from fmalloc.store.store import writing
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files, write_atomically


def compare_methods(
    recipe: Recipe, methods: Sequence[str], orders: Sequence[Sequence[str]], output: Path, *, finished: bool = False
) -> Comparison:
    """Run every method on every order of the tasks; comparison.json is rewritten after each run.

    finished: learn nothing, and compare only the runs that have learned all tasks.
    """
    run, runs = Run.of(recipe), list[MethodRun]()
    with writing(output):
        _same_base(run, output)
        untouched = base_scores(run, output / "base-scores")
        for number, order in enumerate(orders):
            ordered = _in_order(run, order)
            for name in methods:
                folder = output / (f"{name}-{'-'.join(order)}" if method_of(name).ordered else name)
                if (number and not method_of(name).ordered) or (finished and not is_finished(ordered, name, folder)):
                    continue
                console.rule(f"{name}: {', '.join(order)}")
                runs.append(run_method(ordered, name, folder, output / "base-scores"))
                comparison = Comparison(
                    base=recipe.base.name,
                    languages=run.languages,
                    domains=list(run.corpora),
                    learning=recipe.learning.model_dump(),
                    evaluation=recipe.evaluation.model_dump(),
                    versions=versions(),
                    signatures=next(iter(untouched.values())).signatures,
                    base_scores={domain: metrics.score for domain, metrics in untouched.items()},
                    runs=runs,
                )
                write_atomically(output / "comparison.json", comparison.to_bytes())
    if not runs:
        raise FmallocError(f"{output}: no run of {', '.join(methods)} is finished")
    return comparison


def _same_base(run: Run, output: Path) -> None:
    """Refuse a folder whose results were measured on another base."""
    path, text = output / "base.json", json.dumps(sha256_files(run.recipe.base), indent=1, sort_keys=True)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise FmallocError(
            f"{output}: holds results of another base than {run.recipe.base}; choose another --output-dir"
        )
    write_atomically(path, text.encode())


def _in_order(run: Run, order: Sequence[str]) -> Run:
    tasks = {task.name: task for task in run.recipe.tasks}
    if sorted(order) != sorted(tasks):
        raise FmallocError(f"--order {','.join(order)}: expected each of {', '.join(tasks)} once")
    recipe = run.recipe.model_copy(update={"tasks": [tasks[name] for name in order]})
    return replace(run, recipe=recipe)


def compare_recipe(
    recipe: Path,
    methods: str,
    orders: Sequence[str],
    output: Path,
    updates: int | None = None,
    *,
    finished: bool = False,
) -> Comparison:
    """Compare by names as the command line gives them: comma-separated, "all" for every method."""
    settings = read_recipe(recipe, {"learning.updates": updates} if updates else {})
    names = list(METHODS) if methods == "all" else [name.strip() for name in methods.split(",")]
    for name in names:
        method_of(name)
        settings_of(settings, name)
    chosen = [order.split(",") for order in orders] or [[task.name for task in settings.tasks]]
    return compare_methods(settings, names, chosen, output, finished=finished)
