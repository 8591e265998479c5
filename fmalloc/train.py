"""fmalloc-train: base, importance, general mask, every task in order, the matrix; nothing is done twice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fmalloc.create import create_store, open_store
from fmalloc.job import Job
from fmalloc.progress import console
from fmalloc.recipe import Recipe, read_recipe, validate_recipe
from fmalloc.status import print_status
from fmalloc.store import Store, writing
from fmalloc.tasks import learn_task
from fmalloc_shared.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import check_name


def run(recipe: Recipe) -> Store:
    """Bring the store to where the recipe wants it."""
    job = Job.of(recipe)
    with writing(recipe.store):
        store = open_store(job) if Store.exists(recipe.store) else create_store(job)
        for task in recipe.tasks:
            learn_task(job, store, task)
    return store


def _assignments(values: Sequence[str]) -> list[dict[str, str]]:
    tasks = []
    for value in values:
        name, separator, path = value.partition("=")
        if not separator or not path:
            raise FmallocError(f"--task {value!r}: expected NAME=PATH, e.g. --task it=corpora/it")
        tasks.append({"name": check_name(name), "data": path})
    return tasks


def print_plan(recipe: Recipe) -> None:
    """What a run would do."""
    exists = Store.exists(recipe.store)
    learned = {record.name for record in Store.open(recipe.store).tasks()} if exists else set()
    job = Job.of(recipe)
    console.print(f"base {recipe.base}, device {job.device.torch}, languages {'-'.join(job.languages)}")
    console.print(
        f"store {recipe.store}: {'exists' if exists else f'to be made, {recipe.sparsity:.0%} of the cells freed'}"
    )
    for task in recipe.tasks:
        corpus = job.corpora[task.name]
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
@click.option("--dry-run", is_flag=True, help="Check every input and say what would be done.")
def main(recipe: Path | None, tasks: tuple[str, ...], dry_run: bool, updates: int | None, **options: Any) -> None:
    """Learn domains one after another into a memory store, forgetting nothing.

    Runs from a RECIPE or from flags; flags override the recipe's keys. If it was killed, the same command goes on where
    it stopped. Examples:

    \b
        fmalloc-train recipe.yaml
        fmalloc-train --base opus-mt-de-en --general news.tsv --task it=corpora/it --task law=corpora/law
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
    settings = read_recipe(recipe, overrides) if recipe else validate_recipe(overrides, "command line")
    if dry_run:
        print_plan(settings)
    else:
        print_status(run(settings))


if __name__ == "__main__":
    main()
