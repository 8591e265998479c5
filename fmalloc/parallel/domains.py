"""`fmalloc train --parallel`: the store is divided among the domains, each is learned in its part, and all are united.

What a domain becomes does not depend on how many are learned at once: its cells are its part of the free ones, whatever
others claim, it reads none of theirs, and its process has as many threads as with `--parallel 1`.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from fmalloc.corpus.workers import cores
from fmalloc.learning.run import Run
from fmalloc.lifecycle.parts.dividing import linked, make_part, shares_of, whole
from fmalloc.lifecycle.parts.merging import open_parts, unite
from fmalloc.parallel.processes import Job, run_all
from fmalloc.recipe import Recipe
from fmalloc.store.store import Store
from fmalloc.store.verification import WORK
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically

_FOLDER = "parallel@parts"  # no task's name
_THREADS, _DEVICES = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"


def begun(store: Path) -> tuple[str, ...]:
    """Names of the domains that the store was divided among and that are not united yet; none if it is whole."""
    file = store / WORK / _FOLDER / "settings.json"
    return tuple(json.loads(file.read_bytes())["tasks"]) if file.is_file() else ()


def check_not_begun(store: Path) -> None:
    """Raise FmallocError if domains are being learned at once: one after another they would get other cells."""
    if names := begun(store):
        raise FmallocError(
            f"{store}: {', '.join(names)} were begun with --parallel; go on with it, or drop what they learned by "
            f"deleting {store / WORK / _FOLDER}"
        )


def domains_of(recipe: Recipe) -> tuple[str, ...]:
    """The recipe's tasks that are to be learned at once, in its order.

    Raises FmallocError if they were begun otherwise, or if one of them reads those that were learned before it.
    """
    exists = Store.exists(recipe.store)
    learned = {task.name for task in Store.open(recipe.store).tasks()} if exists else set()
    names = tuple(task.name for task in recipe.tasks)
    if before := begun(recipe.store):
        if missing := [name for name in before if name not in names]:
            raise FmallocError(
                f"{', '.join(missing)}: begun with --parallel, but no task of the recipe any more; restore it, or drop "
                f"what was learned by deleting {recipe.store / WORK / _FOLDER}"
            )
        names = before
    else:
        names = tuple(name for name in names if name not in learned)
    plans = {plan.name: plan for plan in recipe.plans()}
    if reading := [name for name in names if plans[name].learning.reads != "general"]:
        raise FmallocError(
            f"{', '.join(reading)}: learning.reads is earlier, but domains that are learned at once cannot read each "
            "other; set learning.reads: general"
        )
    return names


def learn_at_once(run: Run, recipe: Recipe, names: Sequence[str], most: int) -> None:
    """Learn these domains, at most so many at a time, into the store of the recipe, which this process has locked.

    `recipe`: as it was read, of which `run` may have changed settings that do not fit the base. What a run that was
    stopped has learned so far is kept.
    """
    store = Store.open(recipe.store)
    folder = store.path / WORK / _FOLDER
    _divide(store, folder, names)
    jobs = [_job(run, recipe, folder, name, len(names)) for name in names]
    places = places_of(run, most)
    console.print(
        f"{', '.join(names)}: {min(len(places), len(names))} at a time, each with 1/{len(names)} of the free cells"
    )
    run_all(jobs, places)
    unite(store, open_parts([folder / name for name in names]))
    shutil.rmtree(folder)


def places_of(run: Run, most: int) -> list[Mapping[str, str]]:
    """Where domains can be learned at the same time, as environments: one per GPU, or all on the CPU."""
    if run.device.torch.type != "cuda":
        return [{} for _ in range(most)]
    visible = os.environ.get(_DEVICES)
    names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    if len(names) < most:
        console.print(f"--parallel {most}: {len(names)} CUDA devices are here, and each learns one domain at a time")
    return [{_DEVICES: name} for name in names[:most]]


def _divide(store: Store, folder: Path, names: Sequence[str]) -> None:
    """Make the part of every domain that has none yet; the folder has its file of settings as soon as it is there."""
    if not begun(store.path):
        shares = shares_of(store, len(names))
        with whole(folder) as staged:
            for number, name in enumerate(names, start=1):
                make_part(store, staged / name, shares, number, len(names), linked)
            write_atomically(staged / "settings.json", json.dumps({"tasks": [*names]}).encode())


def _job(run: Run, recipe: Recipe, folder: Path, name: str, parts: int) -> Job:
    own = folder / f"{name}@recipe.json"
    content = recipe.model_copy(update={"store": folder / name}).model_dump(mode="json", exclude_unset=True)
    write_atomically(own, json.dumps(content, indent=1).encode())
    again = ["--measure-again"] if run.measure_again else []
    every = "1" if console.is_terminal else "30"
    command = [sys.executable, "-m", "fmalloc.parallel.child", str(own), name, "--every", every, *again]
    threads = os.environ.get(_THREADS) or str(max(1, cores() // parts))
    return Job(name, command, {**os.environ, _THREADS: threads})
