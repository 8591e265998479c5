"""All that only a GPU can show, in at most eight minutes: `python -m benchmarks.gpu`, or `make gpu`.

Writes results/gpu.json after every step: tests that are marked `cuda`; pretraining's speed with a profile; learning
against gradient masking; beam search; a base, a domain and its bundles made on the GPU, and both engines of serving
compared with the CPU in every type. It needs no network and installs nothing: a step says what it lacks, and the others
run. `--device cpu` rehearses all of it in tiny shapes, and writes to .work/gpu.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import click
import torch

from benchmarks.common import RESULTS, versions, write_results
from benchmarks.gpu.engines import ROOT, compare, make_bundles
from benchmarks.gpu.sizes import FULL, TINY, Sizes
from benchmarks.gpu.speed import goals_of, learning, pretraining, searching
from fmalloc.model.devices import Device, select
from fmalloc_shared.commands.command import Command
from fmalloc_shared.errors import FmallocError

_WORK = Path(".work") / "gpu"
_TESTS = "tests/learn/test_cuda.py"
# Seconds without which a step is not begun.
_LEAST = {"tests": 120, "pretraining": 45, "learning": 60, "search": 20, "engines": 90}
Step = Callable[[], dict[str, Any]]


def tests(device: str) -> dict[str, Any]:
    """Run the tests that are marked `cuda`, or the same ones on the CPU."""
    if find_spec("pytest") is None:
        raise FmallocError("pytest is not installed")
    chosen = ["-m", "cuda"] if device == "cuda" else ["-m", "not cuda and not slow"]
    # Without what other tests need: packages that a machine with a GPU may lack.
    command = ["-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={ROOT}", "--noconftest", "-p", "no:cacheprovider"]
    roots = os.pathsep.join(str(ROOT / root) for root in (".", "export", "runtime"))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *command, "--import-mode=importlib", *chosen, str(ROOT / _TESTS)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": roots, "TESTS_REQUIRE": "cuda" if device == "cuda" else ""},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        click.echo(done.stdout[-4000:])
        raise FmallocError(f"{_TESTS}: {lines[-1] if lines else done.stderr[-500:]}")
    return {"summary": lines[-1], "seconds": round(time.monotonic() - began, 1)}


def engines(device: str, sizes: Sizes, work: Path) -> dict[str, Any]:
    """Make what is not there yet, and compare."""
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    make_bundles(work, device, sizes)
    made = round(time.monotonic() - began, 1)
    return {"seconds_to_make": made, **compare(work, device, sizes)}


def steps_of(device: Device, sizes: Sizes, work: Path) -> dict[str, Step]:
    """The steps by name, in their order."""
    kind = device.torch.type
    return {
        "pretraining": lambda: pretraining(sizes, device),
        "learning": lambda: learning(sizes, device),
        "search": lambda: searching(sizes, device),
        "tests": lambda: tests(kind),
        "engines": lambda: engines(kind, sizes, work),
    }


def take(name: str, step: Step, left: float) -> dict[str, Any]:
    """What a step found, or what it lacks or how it failed: the others go on."""
    if left < _LEAST[name]:
        return {"not_run": f"{left:.0f} seconds were left, and it needs {_LEAST[name]}"}
    began = time.monotonic()
    try:
        found = step()
    except FmallocError as error:
        return {"lacks": str(error)}
    except (ImportError, RuntimeError, ValueError, OSError, KeyError, AssertionError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    return found | {"took_seconds": round(time.monotonic() - began, 1)}


def _named(device: Device) -> str:
    return torch.cuda.get_device_name(device.torch) if device.torch.type == "cuda" else device.torch.type


@click.command(cls=Command)
@click.option("--device", "kind", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=8.0, show_default=True)
@click.option("--step", "only", multiple=True, type=click.Choice(sorted(_LEAST)), help="Only these; others are kept.")
@click.option("--work-dir", "work", type=click.Path(path_type=Path), default=_WORK, show_default=True)
@click.option("--output-dir", "output", type=click.Path(path_type=Path), help="Of gpu.json.  [default: results]")
def main(kind: Literal["cuda", "cpu"], minutes: float, only: Sequence[str], work: Path, output: Path | None) -> None:
    """Measure and test what only a GPU can show."""
    began = time.monotonic()
    device = select(kind, "bfloat16" if kind == "cuda" else "float32")
    sizes, folder = (FULL, output or RESULTS) if kind == "cuda" else (TINY, output or work)
    path = folder / "gpu.json"
    results: dict[str, Any] = json.loads(path.read_bytes())["results"] if only and path.exists() else {}
    for name, step in steps_of(device, sizes, work).items():
        if only and name not in only:
            continue
        results[name] = take(name, step, 60 * minutes - (time.monotonic() - began))
        click.echo(f"{name}: {json.dumps(results[name])}")
        _write(results, device, sizes, folder)
    wrong = {name: found for name, found in results.items() if _wrong(found)}
    if wrong:
        raise FmallocError(f"not measured: {', '.join(wrong)}; {path} says why")


def _wrong(found: Mapping[str, Any]) -> bool:
    return bool({"lacks", "failed", "not_run"} & found.keys())


def _write(results: Mapping[str, Any], device: Device, sizes: Sizes, folder: Path) -> None:
    payload = {
        "device": _named(device),
        "precision": "bfloat16" if device.bfloat16 else "float32",
        "cuda": torch.version.cuda,
        "sizes": sizes.described(),
        "results": dict(results),
        "versions": versions("torch", "transformers", "ctranslate2", "onnxruntime", "onnxruntime-gpu"),
    }
    write_results("gpu", payload, goals_of(dict(results)), directory=folder)


if __name__ == "__main__":
    main()
