"""Faults, tried for real on a running server: `python -m benchmarks.soak --bundles DIR [--minutes N]`.

DIR holds two bundles of each domain that is live; it is copied, never changed. A quiet server is asked first what is
right for every text, domain and bundle; what is answered under faults is compared with that. Writes
results/soak.json. Each phase's result is kept in the work folder as soon as it is there; run again, the soak goes on
with the next.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

import fmalloc_runtime
from benchmarks.common import Goal, once, versions, write_results
from benchmarks.soak.background import GROWTH_MB, LEAK_MB
from benchmarks.soak.crowds import crowded, slow
from benchmarks.soak.damage import damaged
from benchmarks.soak.ending import ended
from benchmarks.soak.faults import full_disk, killed
from benchmarks.soak.floods import huge_bodies, overloaded
from benchmarks.soak.hostile import described, malformed
from benchmarks.soak.phase import ALLOCATOR, Record, Setting
from benchmarks.soak.stalls import LIVE_SECONDS, heavy_texts, tiny_pieces
from benchmarks.soak.swaps import swapped
from benchmarks.soak.truth import Truth, calls_of, learn_truth
from fmalloc_runtime.bundle.bundle import LiveIndex
from fmalloc_runtime.machine import raise_open_files
from fmalloc_shared.commands.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files

Phase = Callable[[Setting, Record], None]
_MINUTES = 5.0
# What there has to be of these, in five minutes.
_LEAST = {"swaps": 100, "malformed": 10_000, "described": 2_000}
_PHASES: Mapping[str, Phase] = {
    "killed": killed,
    "swapped": swapped,
    "damaged": damaged,
    "full_disk": full_disk,
    "malformed": malformed,
    "described": described,
    "slow_clients": slow,
    "crowded": crowded,
    "huge_bodies": huge_bodies,
    "overloaded": overloaded,
    "heavy_texts": heavy_texts,
    "tiny_pieces": tiny_pieces,
    "ended": ended,
}


@click.command(cls=Command)
@click.option("--bundles", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--minutes", type=click.FloatRange(min=0.1), default=_MINUTES, show_default=True, help="About so many.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/soak"), show_default=True)
@click.option("--only", type=click.Choice(list(_PHASES)), multiple=True, help="These phases; nothing is written then.")
def main(bundles: Path, minutes: float, work: Path, only: Sequence[str]) -> None:
    """Kill the server, swap and damage its bundles, fill its disk, and be the worst clients it could have."""
    raise_open_files()
    here, there = _sides(bundles)
    work = work / _identity(here, there, minutes)
    work.mkdir(parents=True, exist_ok=True)
    setting = _setting(bundles, here, there, work, minutes / _MINUTES)
    parts = {name: once(work / f"{name}.json", partial(_run, name, setting)) for name in only or _PHASES}
    goals = _goals(parts, setting)
    if not only:
        payload = {
            "versions": versions("fmalloc", "ctranslate2", "starlette", "uvicorn", "h11", "schemathesis"),
            "bundles": {"here": dict(here), "there": dict(there)},
            "minutes": minutes,
            "seconds": round(sum(part["seconds"] for part in parts.values()), 1),
            "allocator": ALLOCATOR,
            "requests": len(setting.truth.calls),
            "phases": parts,
        }
        write_results("soak", payload, goals)
    for goal in goals:
        click.echo(f"{goal['name']}: {goal['value']} (goal {goal['goal']}, {'met' if goal['met'] else 'not met'})")
    if not all(goal["met"] for goal in goals):
        raise FmallocError(f"not all goals are met: see {work}")


def _identity(*settings: object) -> str:
    """Of settings and the server's code: results of another one are not mixed with this one's."""
    code = sha256_files(Path(fmalloc_runtime.__file__).parent)
    sources = {name: digest for name, digest in code.items() if name.endswith(".py")}
    return sha256(repr((settings, sources)).encode()).hexdigest()[:12]


def _sides(bundles: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What is live, and the other bundle of each domain."""
    here = dict(LiveIndex.of(bundles).domains)
    there = {}
    for domain, name in here.items():
        others = [path.name for path in sorted(bundles.glob(f"{domain}@*")) if path.name != name]
        if not others:
            raise FmallocError(f"{bundles}: expected a second bundle of {domain} beside {name}, to swap them")
        there[domain] = others[0]
    return here, there


def _setting(bundles: Path, here: Mapping[str, str], there: Mapping[str, str], work: Path, amount: float) -> Setting:
    """A copy of the bundles, and the truth about them."""
    source, spoiled = work / "source", work / "bundles"
    for directory in (source, spoiled):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
    for name in (*here.values(), *there.values()):
        shutil.copytree(bundles / name, source / name)
    setting = Setting(source, spoiled, here, there, Truth((), {}), work, work / "truth.log", amount)
    setting.restore()
    click.echo("truth …", err=True)
    sides = (here, there)
    texts = once(work / "truth.json", partial(learn_truth, spoiled, sides, setting.log))
    return replace(setting, truth=Truth(calls_of(source, sides), texts))


def _run(name: str, setting: Setting) -> dict[str, Any]:
    click.echo(f"{name} …", err=True)
    setting.restore()
    log = setting.work / f"{name}.log"
    log.unlink(missing_ok=True)
    record, began = Record(setting.truth), time.monotonic()
    _PHASES[name](replace(setting, log=log), record)
    return {**record.report(), "seconds": round(time.monotonic() - began, 1)}


def _goals(parts: Mapping[str, Any], setting: Setting) -> list[Goal]:
    memory = [part["resident_mb"] for part in parts.values() if "resident_mb" in part]
    growth = max((found["after"][-1] - found["before"] for found in memory), default=0.0)
    repeats = max((found["after"][-1] - found["after"][0] for found in memory), default=0.0)
    wrong = sum(part["wrong"] for part in parts.values())
    unannounced = sum(part["unannounced"] for part in parts.values())
    goals: list[Goal] = [
        {"name": "wrong answers", "value": wrong, "goal": "0", "met": wrong == 0},
        {"name": "5xx that are not announced", "value": unannounced, "goal": "0", "met": unannounced == 0},
        {
            "name": "growth of resident memory from warm to the end of a phase, MB",
            "value": round(growth, 1),
            "goal": f"<= {GROWTH_MB:g}",
            "met": growth <= GROWTH_MB,
        },
        {
            "name": "growth from one repeat of a phase to the next, MB",
            "value": round(repeats, 1),
            "goal": f"<= {LEAK_MB:g}",
            "met": repeats <= LEAK_MB,
        },
    ]
    waits = [wait for part in parts.values() for wait in part.get("livez_seconds", {}).values()]
    if waits:
        goals.append(
            {
                "name": "longest wait for /livez under heavy texts and bodies byte by byte, seconds",
                "value": max(waits),
                "goal": f"<= {LIVE_SECONDS:g}",
                "met": max(waits) <= LIVE_SECONDS,
            }
        )
    for name, count in _LEAST.items():
        if any(name in part for part in parts.values()):
            found, least = sum(part.get(name, 0) for part in parts.values()), setting.times(count)
            goals.append({"name": name, "value": found, "goal": f">= {least}", "met": found >= least})
    for name, part in parts.items():
        goals.append({"name": f"phase {name} passes", "value": part["passed"], "goal": "true", "met": part["passed"]})
    return goals


if __name__ == "__main__":
    main()
