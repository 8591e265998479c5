"""fmalloc compare: runs several methods under one protocol and keeps comparison.json."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fmalloc.learning.preflight import read_inputs
from fmalloc.learning.run import Run
from fmalloc.methods import METHODS, method_of
from fmalloc.methods.comparison.record import Comparison, MethodRun
from fmalloc.methods.comparison.run import (
    base_scores,
    check_settings,
    is_finished,
    make_method,
    run_method,
    settings_of,
)
from fmalloc.model.architectures import base_bytes
from fmalloc.model.devices import versions
from fmalloc.recipe import Recipe, read_recipe
from fmalloc.store.store import writing
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files, write_atomically

_BASE_FILE = "base.json"


@dataclass(frozen=True)
class Plan:
    """What a comparison runs: each method on each order of the tasks, as recipe in that order, method and folder."""

    run: Run
    runs: Sequence[tuple[Run, str, Path]]
    output: Path

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        methods: Sequence[str],
        orders: Sequence[Sequence[str]],
        output: Path,
        *,
        dry_run: bool = False,
    ) -> "Plan":
        """Check all that the runs will need, and read the inputs; `dry_run`: without a file for the cache.

        Raises:
            FmallocError: a package, room or a right is missing, an input is bad, or `output` holds other results.
        """
        run = read_inputs(recipe, output, room=2 * base_bytes(recipe.base), dry_run=dry_run)
        _same_base(run, output)
        runs = []
        for number, order in enumerate(orders):
            ordered = _in_order(run, order)
            for name in methods:
                folder = output / (f"{name}-{'-'.join(order)}" if method_of(name).ordered else name)
                if method_of(name).ordered or not number:
                    method = make_method(ordered, name, folder)
                    check_settings(ordered, method, folder)
                    if not number:
                        method.check()
                    runs.append((ordered, name, folder))
        return cls(run, runs, output)

    def show(self) -> None:
        """Print what would be run."""
        for run, name, folder in self.runs:
            state = "learned already" if is_finished(run, name, folder) else "to be learned"
            console.print(f"{name}: {', '.join(run.plans)}: {state}, {folder}", markup=False)

    def compare(self) -> Comparison:
        """Run everything; comparison.json is rewritten after each run."""
        run, output, runs = self.run, self.output, list[MethodRun]()
        with writing(output):
            write_atomically(output / _BASE_FILE, _base_bytes(run))
            untouched = base_scores(run, output / "base-scores")
            for ordered, name, folder in self.runs:
                console.rule(f"{name}: {', '.join(ordered.plans)}")
                runs.append(run_method(ordered, name, folder, output / "base-scores"))
                comparison = Comparison(
                    base=run.recipe.base.name,
                    languages=run.languages,
                    domains=list(run.corpora),
                    learning=run.recipe.learning.model_dump(),
                    evaluation=run.recipe.evaluation.model_dump(),
                    versions=versions(),
                    signatures=next(iter(untouched.values())).signatures,
                    base_scores={domain: metrics.score for domain, metrics in untouched.items()},
                    runs=runs,
                )
                write_atomically(output / "comparison.json", comparison.to_bytes())
        return comparison


def _same_base(run: Run, output: Path) -> None:
    """Refuse a folder whose results were measured on another base."""
    path = output / _BASE_FILE
    if path.is_file() and path.read_bytes() != _base_bytes(run):
        raise FmallocError(
            f"{output}: holds results of another base than {run.recipe.base}; choose another --output-dir"
        )


def _base_bytes(run: Run) -> bytes:
    return json.dumps(sha256_files(run.recipe.base), indent=1, sort_keys=True).encode()


def _in_order(run: Run, order: Sequence[str]) -> Run:
    tasks = {task.name: task for task in run.recipe.tasks}
    if sorted(order) != sorted(tasks):
        raise FmallocError(f"--order {','.join(order)}: expected each of {', '.join(tasks)} once")
    recipe = run.recipe.model_copy(update={"tasks": [tasks[name] for name in order]})
    return replace(run, recipe=recipe)


def plan_of(
    recipe: Path,
    methods: str,
    orders: Sequence[str],
    output: Path,
    updates: int | None = None,
    *,
    dry_run: bool = False,
) -> Plan:
    """The plan by names as the command line gives them: comma-separated, "all" for every method. Errors as Plan.of."""
    settings = read_recipe(recipe, {"learning.updates": updates} if updates else {})
    names = list(METHODS) if methods == "all" else [name.strip() for name in methods.split(",")]
    for name in names:
        settings_of(settings, name)
    chosen = [order.split(",") for order in orders] or [[task.name for task in settings.tasks]]
    return Plan.of(settings, names, chosen, output, dry_run=dry_run)
