"""fmalloc train: base, importance, general mask, then every task in order; finished steps are not repeated."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fmalloc.learning.create import create_store, open_store
from fmalloc.learning.run import Run
from fmalloc.learning.task import learn_task
from fmalloc.progress import console
from fmalloc.recipe import Recipe, read_recipe, validate_recipe
from fmalloc.report.status import print_status
from fmalloc.store.store import Store, writing
from fmalloc.training.distributed import processes
from fmalloc.training.interrupts import Interrupts


def learn_tasks(recipe: Recipe, *, finish: bool = False) -> Store:
    """Bring the store to where the recipe wants it; with `finish` only commit the task that was interrupted."""
    with processes() as group, Interrupts():
        if finish and not Store.exists(recipe.store):
            group.fail(f"{recipe.store}: does not exist, so no task can be finished; run without --finish")
        run = group.alike(lambda: Run.of(recipe))
        with writing(recipe.store) if group.first else nullcontext():
            group.on_first(lambda: _prepare(run))
            store = Store.open(recipe.store)
            learned = {record.name for record in store.tasks()}
            for name, plan in run.plans.items():
                ending = finish and name not in learned
                learn_task(run, store, plan, finish=ending)
                if ending:
                    break
    return store


def _prepare(run: Run) -> None:
    if Store.exists(run.recipe.store):
        open_store(run)
    else:
        create_store(run)


def _settings(recipe: Path | None, overrides: dict[str, Any]) -> Recipe:
    return read_recipe(recipe, overrides) if recipe else validate_recipe(overrides, "command line")


def print_plan(recipe: Recipe) -> None:
    """What a run would do."""
    exists = Store.exists(recipe.store)
    learned = {record.name for record in Store.open(recipe.store).tasks()} if exists else set()
    run = Run.of(recipe)
    console.print(f"base {recipe.base}, device {run.device.torch}, languages {'-'.join(run.languages)}")
    console.print(
        f"store {recipe.store}: {'exists' if exists else f'to be made, {recipe.sparsity:.0%} of the cells freed'}"
    )
    for task in recipe.tasks:
        corpus = run.corpora[task.name]
        sizes = f"{len(corpus.train)} train, {len(corpus.dev)} dev, {len(corpus.test)} test pairs"
        console.print(f"task {task.name}: {'learned already' if task.name in learned else 'to be learned'} ({sizes})")


def train(recipe: Path | None, overrides: dict[str, Any], *, finish: bool, dry_run: bool) -> None:
    """What `fmalloc train` does; `overrides` are keys of the recipe, dotted where they are nested."""
    with processes() as group:
        settings = group.alike(lambda: _settings(recipe, overrides))
        if dry_run:
            group.alike(lambda: print_plan(settings))
        else:
            store = learn_tasks(settings, finish=finish)
            if not console.quiet:
                print_status(store)
