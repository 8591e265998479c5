"""The README's first command as it stands, on a real base: how long it takes, and what it reaches.

With `--updates` the same is learned for longer too, to see what the defaults leave lying. Each run is a process of its
own in a store of its own below `--work`; a benchmark that was killed goes on where it stopped. Writes
results/newcomer.json.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.common import Goal, once, versions, write_results
from fmalloc.store.store import Store
from fmalloc_shared.commands.progress import console

_MOST_MINUTES, _MOST_LOST = 15, 1.0
_DEFAULTS = "defaults"


def learn(name: str, base: Path, corpora: Path, domain: str, work: Path, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """Seconds of the command, what it measured and learned, and the scores before and after."""
    path = work / name
    command = [sys.executable, "-m", "fmalloc", "train", "--base", str(base), "--general", str(corpora / "general")]
    command += ["--task", f"{domain}={corpora / domain}", "--store", str(path), *more]
    began = time.monotonic()
    subprocess.run(command, check=True)
    seconds = time.monotonic() - began
    store = Store.open(path)
    task, description = store.task(domain), store.description
    return {
        "command": " ".join(["fmalloc", "train", "--base", base.name, "--general", "general", "--task", domain, *more]),
        "seconds": round(seconds, 1),
        "importance_batches": description.importance.batches,
        "importance_ranks_agree": round(description.importance.rank_correlation, 3),
        "updates": task.curve[-1].update,
        "dev_nll": [[point.update, round(point.nll, 3)] for point in task.curve],
        "cells": sum(len(memory.cells) for memory in store.memory(domain).values()),
        "base": description.base_scores.domains[domain].model_dump(),
        "after": task.scores.domains[domain].model_dump(),
        "general_before": description.base_scores.domains["general"].bleu,
        "general_after": task.scores.domains["general"].bleu,
        "environment": task.environment,
    }


def goals(runs: dict[str, dict[str, Any]]) -> list[Goal]:
    """Fifteen minutes, and within a point of the longest run, where one was made."""
    minutes = runs[_DEFAULTS]["seconds"] / 60
    met: list[Goal] = [
        {
            "name": "minutes of the first command",
            "value": round(minutes, 1),
            "goal": f"<= {_MOST_MINUTES}",
            "met": minutes <= _MOST_MINUTES,
        }
    ]
    if len(runs) > 1:
        lost = max(run["after"]["bleu"] for run in runs.values()) - runs[_DEFAULTS]["after"]["bleu"]
        goal = f"<= {_MOST_LOST}"
        met.append({"name": "BLEU less than longer", "value": round(lost, 2), "goal": goal, "met": lost <= _MOST_LOST})
    return met


@click.command()
@click.option("--base", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--domain", default="law", show_default=True)
@click.option("--updates", multiple=True, type=int, help="Learn with so many updates too; repeat it.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/newcomer"))
def main(base: Path, corpora: Path, domain: str, updates: tuple[int, ...], work: Path) -> None:
    """Measure the first command."""
    runs = {}
    for name, more in {_DEFAULTS: (), **{f"{count} updates": ("--updates", str(count)) for count in updates}}.items():
        folder = name.replace(" ", "-")
        runs[name] = once(
            work / f"{folder}.json",
            lambda folder=folder, more=more: learn(folder, base, corpora, domain, work, more),  # type: ignore[misc]
        )
    payload = {"runs": runs, "base": base.name, "domain": domain, "versions": versions("torch", "transformers")}
    console.print(f"wrote {write_results('newcomer', payload, goals(runs))}")


if __name__ == "__main__":
    main()
