"""The process that learns one domain of a recipe in its part of the store: `python -m fmalloc.parallel.child`.

It ends as `fmalloc train` does, with the same messages and exit codes, and also when the process that started it ends.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread

import click

from fmalloc.learning.preflight import preflight
from fmalloc.learning.task import learn_task
from fmalloc.recipe import Recipe, read_recipe
from fmalloc.store.store import Store, writing
from fmalloc.training.interrupts import Interrupts
from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.progress import console, say_every


@click.command(cls=Command, extra="train")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--measure-again", is_flag=True)
@click.option("--every", type=float, default=30.0)
def main(recipe: Path, name: str, measure_again: bool, every: float) -> None:
    """Learn the task NAME of a RECIPE whose store is a part."""
    Thread(target=_end_with_parent, daemon=True).start()
    say_every(every)
    _learn(read_recipe(recipe), name, measure_again=measure_again)


def _learn(recipe: Recipe, name: str, *, measure_again: bool) -> None:
    with Interrupts():
        console.quiet = True  # the process that started this one has shown what the text is like
        try:
            run = replace(preflight(recipe), only=name, measure_again=measure_again)
        finally:
            console.quiet = False
        with writing(recipe.store):
            learn_task(run, Store.open(recipe.store), run.plans[name])


def _end_with_parent() -> None:
    """Stop, as by SIGTERM, when standard input ends."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
