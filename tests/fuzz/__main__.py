"""Mutate everything that is read from disk: `python -m tests.fuzz [--count N] [--seed S] [--only NUMBER]`.

Writes results/fuzz.json unless it is about a part; a run that was stopped goes on. `--only` runs one case again in this
process and shows all that its commands print; its folder is kept.
"""

import hashlib
import os
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from benchmarks.common import Goal, versions, write_results
from fmalloc_shared.commands.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256
from tests.fuzz.campaign import Judged, judged, prepare
from tests.fuzz.case import judge
from tests.fuzz.commands import MEGABYTES, SECONDS
from tests.fuzz.subjects import subjects
from tests.support import ROOT

COUNT = 20_000
# A file system in memory: trees are copied and deleted all the time.
_MEMORY = Path("/dev/shm")
_WORK = Path(".work/fuzz")


@click.command("fuzz", cls=Command)
@click.option("--count", default=COUNT, type=click.IntRange(1), show_default=True, help="How many mutations.")
@click.option("--first", default=0, help="Number of the first one.")
@click.option("--seed", default=1, show_default=True)
@click.option("--only", type=int, help="Run this number alone, here.")
@click.option("--jobs", default=1, show_default=True, help="Processes at once.")
@click.option("--subject", "names", multiple=True, help="These subjects only; nothing is written then.")
@click.option(
    "--work", type=click.Path(path_type=Path), default=None, help="Folder to work in; a temporary one by default."
)
def main(
    count: int, jobs: int, first: int, seed: int, only: int | None, names: tuple[str, ...], work: Path | None
) -> None:
    """Run mutations and report what was not borne."""
    torch.set_num_threads(1)
    chosen = [subject for subject in subjects() if not names or subject.name in names]
    if only is not None:
        _again(chosen, seed, only, work or Path(tempfile.mkdtemp(prefix="fuzz-")))
        return
    whole = not names and not first
    kept = (work or _WORK) / _identity() if whole else None
    progress = _Progress(seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        found = list(judged(chosen, seed, range(first, first + count), Path(folder), jobs, progress.show, kept))
    goals = _goals(found)
    if whole:
        write_results("fuzz", _payload(found, seed), goals)
    for goal in goals:
        click.echo(f"{goal['name']}: {goal['value']} (goal {goal['goal']}, {'met' if goal['met'] else 'not met'})")
    if any(case.wrong for case in found):
        raise FmallocError("not everything was borne")


class _Progress:
    """Says what was not borne, and how far it is."""

    def __init__(self, seed: int) -> None:
        self._seed, self._done, self._began = seed, 0, time.monotonic()

    def show(self, case: Judged) -> None:
        """After each case."""
        self._done += 1
        if case.wrong:
            click.echo(f"--seed {self._seed} --only {case.number}: {case.subject}: {case.mutation}", err=True)
            click.echo("".join(f"  {problem.strip()[-700:]}\n" for problem in case.wrong), err=True)
        if self._done % 500 == 0:
            click.echo(f"{self._done} in {time.monotonic() - self._began:.0f} s", err=True)


def _identity() -> str:
    """Of all code: results of another one are not mixed with this one's."""
    folders = (ROOT / "fmalloc", ROOT / "export", ROOT / "runtime", ROOT / "tests" / "fuzz")
    sources = [sorted((str(p.relative_to(ROOT)), sha256(p)) for p in folder.rglob("*.py")) for folder in folders]
    return hashlib.sha256(repr(sources).encode()).hexdigest()[:12]


def _again(chosen: Any, seed: int, number: int, work: Path) -> None:
    verdict = judge(prepare(chosen, work), seed, number, work.resolve())
    click.echo(f"{verdict.subject}: {verdict.mutation}\nfolder {work}/case")
    for outcome in verdict.outcomes:
        click.echo(f"--- {outcome.call}: {outcome.code} in {outcome.seconds:.2f} s, {outcome.megabytes:.0f} MB")
        click.echo(outcome.text[-3000:])
    for problem in verdict.wrong:
        click.echo(f"!!! {problem}")


def _payload(found: list[Judged], seed: int) -> dict[str, Any]:
    libraries = ("fmalloc", "ctranslate2", "onnxruntime", "pydantic", "safetensors", "sentencepiece", "tokenizers")
    return {
        "versions": versions(*libraries),
        "seed": seed,
        "mutations": dict(sorted(Counter(case.subject for case in found).items())),
        "commands": sum(len(case.codes) for case in found),
        "refused": sum(2 in case.codes for case in found),
        "wrong": [asdict(case) for case in found if case.wrong],
    }


def _goals(found: list[Judged]) -> list[Goal]:
    wrong = sum(bool(case.wrong) for case in found)
    slowest, largest = max(case.seconds for case in found), max(case.megabytes for case in found)
    goals: list[tuple[str, float, str, bool]] = [
        ("mutations", len(found), f">= {COUNT}", len(found) >= COUNT),
        ("mutations that were not borne", wrong, "0", not wrong),
        ("slowest command, s of one core", round(slowest, 2), f"<= {SECONDS:g}", slowest <= SECONDS),
        ("largest command, MB beyond what was there", round(largest), f"<= {MEGABYTES:g}", largest <= MEGABYTES),
    ]
    return [{"name": name, "value": value, "goal": goal, "met": met} for name, value, goal, met in goals]


if __name__ == "__main__":
    main()
