"""What learning domains at once saves: `python -m benchmarks.lifecycle.parallel --store DIR --corpora DIR`.

Two domains are learned into copies of the store, by turns: one after another with all cores (`plain`), with
`--parallel 1`, and with `--parallel 2`. The stores of the latter two must be equal. Adds `parallel` to
results/lifecycle.json; a run that was stopped goes on.
"""

import json
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import yaml

from benchmarks.common import Goal, add_entry, once, versions
from fmalloc.store.store import Store, writing
from fmalloc_shared.commands.command import Command
from fmalloc_shared.files import sha256_files

_CELLS = 256
_WAYS = {"plain": (), "one at a time": ("--parallel", "1"), "both at once": ("--parallel", "2")}
_EQUAL = ("one at a time", "both at once")


@click.command(cls=Command)
@click.option("--store", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--domain", "domains", multiple=True, default=["it", "medical"], show_default=True, help="Not learned.")
@click.option("--updates", default=40, show_default=True, help="Of the parameters, per domain.")
@click.option("--repeats", default=2, show_default=True, help="Of every way, by turns.")
@click.option("--work", default=Path(".work/parallel"), type=click.Path(path_type=Path), show_default=True)
@click.option("--name", default="lifecycle", show_default=True, help="Of the file in results/ that is added to.")
def main(
    store: Path, corpora: Path, domains: tuple[str, ...], updates: int, repeats: int, work: Path, name: str
) -> None:
    """Time the three ways."""
    seconds: dict[str, list[float]] = {way: [] for way in _WAYS}
    digests: dict[str, dict[str, str]] = {}
    for repeat in range(repeats):
        for way, arguments in _WAYS.items():
            own = work / f"{way.replace(' ', '-')}-{repeat}"
            recipe = _recipe(store, corpora, domains, updates, own)
            found = once(work / f"{own.name}.json", partial(_run, store, own, recipe, arguments))
            seconds[way].append(found["seconds"])
            digests[way] = found["digests"]
            click.echo(f"{way}: {found['seconds']:.0f} s")
    alike = len({json.dumps(digests[way], sort_keys=True) for way in _EQUAL}) == 1
    payload = {
        "domains": list(domains),
        "updates": updates,
        "cells": _CELLS,
        "seconds": seconds,
        "same_bytes": alike,
        "versions": versions("torch", "transformers"),
    }
    add_entry(name, "parallel", payload, _goals(seconds, alike=alike))


def _recipe(store: Path, corpora: Path, domains: tuple[str, ...], updates: int, own: Path) -> Path:
    content = {
        "base": str(store / "base"),
        "general": str(corpora / "general"),
        "store": str(own),
        "sparsity": Store.open(store).description.sparsity,
        "device": "cpu",
        "languages": {"source": "de", "target": "en"},
        "evaluation": {"beam_size": 1, "sentences": 20},
        "learning": {
            "updates": updates,
            "batch_tokens": 2048,
            "reads": "general",
            "validate_every": updates,
            "validation_sentences": 0,
            "select_by": "nll",
        },
        "tasks": [{"name": domain, "data": str(corpora / domain)} for domain in domains],
    }
    path = own.with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _run(store: Path, own: Path, recipe: Path, arguments: tuple[str, ...]) -> dict[str, Any]:
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(store, own)
    (own / ".lock").unlink(missing_ok=True)
    with writing(own):
        Store.open(own).grow(_CELLS, seed=1)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "fmalloc", "train", str(recipe), *arguments], check=True)
    seconds = round(time.monotonic() - began, 1)
    digests = {file: digest for file, digest in sha256_files(own).items() if not file.startswith((".lock", ".work"))}
    shutil.rmtree(own)
    return {"seconds": seconds, "digests": digests}


def _goals(seconds: dict[str, list[float]], *, alike: bool) -> list[Goal]:
    middle = {way: median(times) for way, times in seconds.items()}
    goals: list[Goal] = [
        {"name": "--parallel 2 makes the bytes of --parallel 1", "value": alike, "goal": "true", "met": alike}
    ]
    for way in ("one at a time", "plain"):
        ratio = round(middle[way] / middle["both at once"], 2)
        goals.append(
            {
                "name": f"--parallel 2, times as fast as {'--parallel 1' if way != 'plain' else 'one after another'}",
                "value": ratio,
                "goal": "> 1",
                "met": ratio > 1,
            }
        )
    return goals


if __name__ == "__main__":
    main()
