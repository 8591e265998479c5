"""Speed and memory of learning a task: `python -m benchmarks.learning.train --base DIR --corpora DIR` (seven minutes).

Writes results/train.json. Our blocks are compared with gradient masking on the dense model and with full fine-tuning:
the same loop, the same batches, updates in turns. Peak memory is that of processes of their own. The case `search`
is that of translating for scores: see search.py.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.common import RESULTS, Goal, versions, write_results
from benchmarks.learning.contenders import CONTENDERS, WRITABLE, Case, case_of, contender
from benchmarks.learning.search import goals_of, measure_search
from fmalloc.model.devices import Device, select
from fmalloc.training.loop import Training
from fmalloc_shared.commands.command import Command

CASES = ("base", "OPUS-MT")
SEARCH = "search"
_LINES = 200
OURS, MASKING = "blocks", "masking"
_SPEEDUP, _MEMORY = 1.3, 0.5


def training_of(name: str, case: Case, device: Device, folder: Path) -> Training:
    """A contender in the training loop."""
    trainable = contender(name, case, device)
    return Training(trainable, case.batches(), case.settings.schedule(), device, folder / f"{name}.safetensors", name)


def _step(training: Training, device: Device) -> float:
    """Seconds of an update; on the CPU those of its one thread, which other processes do not lengthen."""
    if device.torch.type == "cpu":
        begin = time.process_time()
        training.take_step()
        return time.process_time() - begin
    torch.cuda.synchronize()
    begin = time.perf_counter()
    training.take_step()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def _optimizer_bytes(training: Training) -> int:
    state = training.optimizer.state_dict()["state"]
    return sum(t.numel() * t.element_size() for values in state.values() for t in values.values())


def measure_speed(
    case: Case, device: Device, seconds: float, contenders: Sequence[str] = tuple(CONTENDERS)
) -> dict[str, Any]:
    """Updates of the contenders in turns, for about so many seconds; the first of each is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        trainings = {name: training_of(name, case, device, Path(folder)) for name in contenders}
        first = {name: round(_step(training, device), 4) for name, training in trainings.items()}
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds or len(taken[OURS]) < 3:
            turn = list(trainings) if len(taken[OURS]) % 2 else list(reversed(trainings))
            for name in turn:
                taken[name].append(round(_step(trainings[name], device), 4))
    batches = case.batches()
    tokens = statistics.mean(batches.batch(1 + index).target_tokens for index in range(len(taken[OURS])))
    return {
        name: {
            "updates_per_second": round(1 / statistics.median(times), 4),
            "target_tokens_per_second": round(tokens / statistics.median(times), 1),
            "speed_of_blocks": round(statistics.median(a / b for a, b in zip(times, taken[OURS], strict=True)), 3),
            "optimizer_bytes": _optimizer_bytes(trainings[name]),
            "trained_parameters": sum(parameter.numel() for parameter in trainings[name].parameters),
            "first_seconds": first[name],
            "seconds_raw": times,
        }
        for name, times in taken.items()
    }


def measure_peak(name: str, case: Case, device: Device) -> int:
    """Most bytes in use during two updates: of this whole process, or of the CUDA device."""
    with tempfile.TemporaryDirectory() as folder:
        training = training_of(name, case, device, Path(folder))
        for _ in range(2):
            training.take_step()
    if device.torch.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return peak_resident()


def peak_resident() -> int:
    """Most bytes of this process alone: getrusage begins with what the process that started it held."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _goals(results: dict[str, Any]) -> list[Goal]:
    goals: list[Goal] = []
    for case, found in results.items():
        ratio = found[MASKING]["speed_of_blocks"]
        share = found[OURS]["optimizer_bytes"] / found[MASKING]["optimizer_bytes"]
        faster, smaller = f"updates/s over gradient masking, {case}", f"optimizer memory of masking's, {case}"
        goals.append(Goal(name=faster, value=ratio, goal=f">= {_SPEEDUP}", met=ratio >= _SPEEDUP))
        goals.append(Goal(name=smaller, value=round(share, 3), goal=f"<= {_MEMORY}", met=share <= _MEMORY))
    return goals


@click.command(cls=Command)
@click.option("--base", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--seconds", type=click.FloatRange(0), default=80.0, show_default=True, help="Of timing, per case.")
@click.option(
    "--case",
    "cases",
    multiple=True,
    type=click.Choice([*CASES, SEARCH]),
    help="Only these; the results of others are left.",
)
@click.option("--device", "kind", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Folder of train.json.  [default: results]")
@click.option("--peak", type=click.Choice(sorted(CONTENDERS)), help="Only print this one's peak memory, in bytes.")
def main(
    base: Path, corpora: Path, seconds: float, cases: Sequence[str], kind: Any, output: Path | None, peak: str | None
) -> None:
    """Measure updates per second, peak memory and optimizer bytes."""
    torch.set_num_threads(1)
    device = select(kind)
    if peak:
        click.echo(measure_peak(peak, case_of(cases[0], base, corpora), device))
        return
    folder = output or RESULTS
    kept = json.loads((folder / "train.json").read_bytes()) if cases and (folder / "train.json").exists() else {}
    results, settings, searched = kept.get("results", {}), kept.get("cases", {}), kept.get(SEARCH, {})
    if not cases or SEARCH in cases:
        searched[base.name] = measure_search(base, corpora, device, _LINES)
        click.echo(f"{SEARCH}, {base.name}: {json.dumps(searched[base.name])}")
    for name in [name for name in CASES if not cases or name in cases]:
        case = case_of(name, base, corpora)
        results[name], settings[name] = measure_speed(case, device, seconds), case.described()
        for one in CONTENDERS:
            results[name][one]["peak_bytes"] = _peak_apart(one, name, base, corpora, kind)
        for one, found in results[name].items():
            shown = {key: value for key, value in found.items() if key != "seconds_raw"}
            click.echo(f"{name}, {one}: {json.dumps(shown)}")
    payload = {
        "cases": settings,
        "device": str(device.torch) if device.torch.type == "cpu" else torch.cuda.get_device_name(),
        "threads": torch.get_num_threads(),
        "clock": "CPU time of the one thread" if device.torch.type == "cpu" else "time that passes",
        "results": results,
        SEARCH: searched,
        "writable_share": WRITABLE,
        "versions": versions("torch", "transformers"),
    }
    write_results("train", payload, [*_goals(results), *goals_of(searched)], directory=folder)


def _peak_apart(name: str, case: str, base: Path, corpora: Path, kind: str) -> int:
    command = [sys.executable, "-m", "benchmarks.learning.train", "--base", str(base), "--corpora", str(corpora)]
    command += ["--case", case, "--device", kind, "--peak", name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
