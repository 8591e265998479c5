"""Where a benchmark ran, and how its results are written: `results/NAME.json`.

Benchmarks are run from the repository root as modules: `python -m benchmarks.serving.routing`.
"""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

from fmalloc_shared.files import write_atomically

RESULTS = Path(__file__).resolve().parents[1] / "results"


class Goal(TypedDict):
    """One row of what was hoped for, and whether it came true."""

    name: str
    value: float | int | bool | str | None
    goal: str
    met: bool


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GB, operating system and Python version."""
    return {
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "memory_gb": _memory_gb(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def megabytes(folder: Path) -> float:
    """Of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def once(path: Path, measure: Callable[[], Any]) -> Any:
    """What was measured before and kept at `path`, or is now: a killed benchmark goes on where it stopped."""
    if not path.exists():
        found = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(found).encode())
    return json.loads(path.read_text())


def versions(*names: str) -> dict[str, str | None]:
    """Installed version of each distribution; None where it is not installed."""
    return {name: _version(name) for name in names}


def write_results(name: str, payload: Mapping[str, Any], goals: Sequence[Goal], *, directory: Path = RESULTS) -> Path:
    """Write `directory/name.json`: the payload, the machine and the goals; return its path.

    Keys are sorted, and the file is replaced whole. Raises ValueError for NaN or infinity: a result that is
    missing is None.
    """
    document = {"machine": machine(), **payload, "goals": list(goals)}
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    write_atomically(path, f"{text}\n".encode())
    return path


def add_entry(
    name: str, entry: str, payload: Mapping[str, Any], goals: Sequence[Goal], *, directory: Path = RESULTS
) -> Path:
    """Write one entry of `directory/name.json` and its goals; what else is there stays."""
    path = directory / f"{name}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    mine = {goal["name"] for goal in goals}
    others = [goal for goal in kept.pop("goals", []) if goal["name"] not in mine]
    kept.pop("machine", None)
    return write_results(name, {**kept, entry: payload}, [*others, *goals], directory=directory)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None
