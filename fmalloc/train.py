"""fmalloc train: base, importance, general mask, then every task in order; finished steps are not repeated."""

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from fmalloc.learning.create import create_store, open_store
from fmalloc.learning.forecast import forecast
from fmalloc.learning.preflight import preflight
from fmalloc.learning.run import Run
from fmalloc.learning.task import learn_task
from fmalloc.lifecycle.freeing import complete
from fmalloc.parallel.domains import check_not_begun, domains_of, learn_at_once, places_of
from fmalloc.recipe import Recipe, read_recipe, validate_recipe
from fmalloc.report.ledger import shortage
from fmalloc.report.status import print_status
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store, writing
from fmalloc.training.distributed import Group, processes
from fmalloc.training.interrupts import Interrupts
from fmalloc_shared.commands.progress import console


def learn_tasks(
    recipe: Recipe, *, finish: bool = False, measure_again: bool = False, parallel: int | None = None
) -> Store:
    """Bring the store to where the recipe wants it; with `finish` only commit the task that was interrupted.

    `measure_again`: scores are measured also where an earlier record proves them. `parallel`: how many tasks are
    learned at once, each with an equal share of the free cells; None: one after another, each with what is left to it.
    """
    with processes() as group, Interrupts():
        if finish and not Store.exists(recipe.store):
            group.fail(f"{recipe.store}: does not exist, so no task can be finished; run without --finish")
        if parallel and group.size > 1:
            group.fail("--parallel starts its own processes: run it without torchrun")
        at_once = domains_of(recipe) if parallel else ()
        if not parallel:
            check_not_begun(recipe.store)
        run = replace(group.alike(lambda: preflight(recipe)), measure_again=measure_again)
        with writing(recipe.store) if group.first else nullcontext():
            _prepare(run, group)
            store = Store.open(recipe.store)
            learned = {domain_of(record.name) for record in store.tasks()}
            _warn(store, recipe, learned)
            if parallel and len(at_once) > 1:
                learn_at_once(run, recipe, at_once, parallel)
            for name, plan in run.plans.items():
                ending = finish and name not in learned
                learn_task(run, store, plan, finish=ending)
                if ending:
                    break
    return store


def _prepare(run: Run, group: Group) -> None:
    if group.on_first(lambda: Store.exists(run.recipe.store)):
        group.on_first(lambda: _complete(run))
    else:
        create_store(run)


def _complete(run: Run) -> None:
    if freed := complete(Store.open(run.recipe.store)):
        console.print(f"{', '.join(freed)}: freed before; its files were still there and are deleted now")
    open_store(run)


def _warn(store: Store, recipe: Recipe, learned: Collection[str]) -> None:
    """Say before anything is learned which tasks are not likely to fit."""
    if message := shortage(store, [task.name for task in recipe.tasks if task.name not in learned]):
        console.print(f"[yellow]room[/]: {escape(message)}", soft_wrap=True, highlight=False)


def _settings(recipe: Path | None, overrides: dict[str, Any]) -> Recipe:
    return read_recipe(recipe, overrides) if recipe else validate_recipe(overrides, "command line")


def print_plan(recipe: Recipe, parallel: int | None = None) -> None:
    """What a run would do."""
    at_once = domains_of(recipe) if parallel else ()
    run, exists = preflight(recipe, dry_run=True), Store.exists(recipe.store)
    learned = {domain_of(record.name) for record in Store.open(recipe.store).tasks()} if exists else set()
    mark = f"; before every source stands {run.mark}" if run.mark else ""
    console.print(f"base {recipe.base}, device {run.device.torch}, languages {'-'.join(run.languages)}{mark}")
    console.print(
        f"store {recipe.store}: {'exists' if exists else f'to be made, {recipe.sparsity:.0%} of the cells freed'}"
    )
    for task in recipe.tasks:
        corpus = run.corpora[task.name]
        sizes = f"{len(corpus.train)} train, {len(corpus.dev)} dev, {len(corpus.test)} test pairs"
        console.print(f"task {task.name}: {'learned already' if task.name in learned else 'to be learned'} ({sizes})")
    if parallel and len(at_once) > 1:
        places = min(len(at_once), len(places_of(run, parallel)))
        console.print(f"{', '.join(at_once)}: {places} at a time, each with 1/{len(at_once)} of the free cells")
    if exists:
        _warn(Store.open(recipe.store), recipe, learned)
    if steps := forecast(run, learned if exists else None):
        console.print("on this machine, as it is now:")
        for step in steps:
            console.print(f"  {step}", highlight=False, markup=False)


def train(
    recipe: Path | None,
    overrides: dict[str, Any],
    *,
    finish: bool,
    measure_again: bool,
    parallel: int | None,
    dry_run: bool,
) -> None:
    """What `fmalloc train` does; `overrides` are keys of the recipe, dotted where they are nested."""
    with processes() as group:
        settings = group.alike(lambda: _settings(recipe, overrides))
        if dry_run:
            group.alike(lambda: print_plan(settings, parallel))
        else:
            store = learn_tasks(settings, finish=finish, measure_again=measure_again, parallel=parallel)
            if not console.quiet:
                print_status(store)
