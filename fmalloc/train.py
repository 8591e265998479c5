"""fmalloc-train: base, importance, general mask, then every task in order; finished steps are not repeated."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from fmalloc.learning.create import create_store, open_store
from fmalloc.learning.run import Run
from fmalloc.learning.task import learn_task
from fmalloc.progress import console
from fmalloc.recipe import Recipe, read_recipe, validate_recipe
from fmalloc.report.status import print_status
from fmalloc.store.store import Store, writing
from fmalloc.training.distributed import processes
from fmalloc.training.interrupts import Interrupts
from fmalloc_shared.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import check_name


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


def _assignments(values: Sequence[str]) -> list[dict[str, str]]:
    tasks = []
    for value in values:
        name, separator, path = value.partition("=")
        if not separator or not path:
            raise FmallocError(f"--task {value!r}: expected NAME=PATH, e.g. --task it=corpora/it")
        tasks.append({"name": check_name(name), "data": path})
    return tasks


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


@click.command(cls=Command)
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option("--base", help="Folder of the pretrained model, as transformers saves it.")
@click.option("--general", help="Parallel text of the general domain: a .tsv file, Moses pair or folder.")
@click.option(
    "--task", "tasks", multiple=True, metavar="NAME=PATH", help="A domain to learn; repeat it, the order counts."
)
@click.option("--output", help="Folder of the memory store.  [default: store]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="auto takes CUDA where there is one.")
@click.option("--updates", type=click.IntRange(1), help="Most updates a task (learning.updates).")
@click.option("--finish", is_flag=True, help="Learn no further: commit the interrupted task at its best state so far.")
@click.option("--dry-run", is_flag=True, help="Check every input and print what would be done.")
def main(
    recipe: Path | None, tasks: tuple[str, ...], finish: bool, dry_run: bool, updates: int | None, **options: Any
) -> None:
    """Learn domains one after another into a memory store, forgetting nothing.

    Runs from a RECIPE or from flags; flags override the recipe's keys. If it was killed or stopped by Ctrl-C, the same
    command goes on where it stopped. Several processes, with a GPU each, share every batch. Examples:

    \b
        fmalloc-train recipe.yaml
        fmalloc-train --base opus-mt-de-en --general news.tsv --task it=corpora/it --task law=corpora/law
        torchrun --nproc-per-node 2 -m fmalloc.train recipe.yaml
    """
    overrides: dict[str, Any] = {
        key: options[option]
        for option, key in (("base", "base"), ("general", "general"), ("output", "store"), ("device", "device"))
        if options[option] is not None
    }
    if tasks:
        overrides["tasks"] = _assignments(tasks)
    if updates:
        overrides["learning.updates"] = updates
    if recipe is None and not tasks:
        raise FmallocError("give a RECIPE, or --base, --general and at least one --task NAME=PATH; see --help")
    with processes() as group:
        settings = group.alike(lambda: _settings(recipe, overrides))
        if dry_run:
            group.alike(lambda: print_plan(settings))
        else:
            store = learn_tasks(settings, finish=finish)
            if not console.quiet:
                print_status(store)


if __name__ == "__main__":
    main()
