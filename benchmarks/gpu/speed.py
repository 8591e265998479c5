"""Speed and memory of training and of search on one device, and what it does meanwhile."""

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import Goal
from benchmarks.gpu.sizes import Sizes
from benchmarks.learning.contenders import untested
from benchmarks.learning.train import MASKING, OURS, measure_peak, measure_speed, peak_resident
from fmalloc.evaluation.search import Search, unwritten
from fmalloc.model.devices import Device
from fmalloc.model.text.batches import TrainingBatches
from fmalloc.pretraining.trainable import Pretraining, PretrainingSettings
from fmalloc.store.records import CurvePoint
from fmalloc.training.loop import Training
from fmalloc.training.pace import now
from fmalloc.training.schedule import ENDLESS, Schedule

_UPDATES_PER_SECOND, _BUSY, _FASTER, _MEMORY = 25.0, 0.8, 1.3, 0.5
_WARM, _BETWEEN_LOOKS, _OPERATORS = 16, 16, 10
_COMPARED = (OURS, MASKING)
_LONGEST = 64


def pretraining(sizes: Sizes, device: Device) -> dict[str, Any]:
    """Updates per second without a wait between them, the share of time the device works, peak memory."""
    _forget_peak(device)
    with tempfile.TemporaryDirectory() as folder:
        training = _training(sizes, device, Path(folder))
        _steps(training, _WARM, device)
        count, seconds = 0, 0.0
        while seconds < sizes.seconds:
            seconds += _steps(training, _BETWEEN_LOOKS, device)
            count += _BETWEEN_LOOKS
        found = _profiled(training, sizes.profiled, device)
    busy = found.pop("device_seconds_per_update") * count / seconds
    return {
        "updates_per_second": round(count / seconds, 2),
        "updates": count,
        "busy": round(busy, 3),
        "peak_bytes": _peak(device),
        **found,
    }


def learning(sizes: Sizes, device: Device) -> dict[str, Any]:
    """Blocks and gradient masking in turns, as benchmarks/learning/train.py measures them, and their peak memory."""
    case = sizes.case()
    found = measure_speed(case, device, sizes.seconds, _COMPARED)
    for name in _COMPARED:
        _forget_peak(device)
        found[name]["peak_bytes"] = measure_peak(name, case, device)
    return found


def searching(sizes: Sizes, device: Device) -> dict[str, Any]:
    """Sentences per second of evaluation's beam search, greedy and with beam 4, after one that warms up."""
    model = sizes.model().to(device.torch).eval()
    sources = [example.source for example in sizes.examples(sizes.shape.vocabulary)[: sizes.sentences]]
    found: dict[str, Any] = {"sentences": len(sources), "longest_output": _LONGEST}
    for size in (1, 4):
        search = Search(size, (model.config.decoder_start_token_id,), _LONGEST, forbidden=unwritten(model))
        search.run(model, sources[:2])
        began = now(device)
        search.run(model, sources)
        found[f"beam {size}"] = round(len(sources) / (now(device) - began), 1)
    return found


def goals_of(results: dict[str, Any]) -> list[Goal]:
    """What was hoped for, of what was measured."""
    goals: list[Goal] = []

    def goal(name: str, value: float, bound: float, *, most: bool = False) -> None:
        met = value <= bound if most else value >= bound
        goals.append(Goal(name=name, value=value, goal=f"{'<=' if most else '>='} {bound:g}", met=met))

    if "updates_per_second" in (found := results.get("pretraining", {})):
        goal("updates per second of pretraining", found["updates_per_second"], _UPDATES_PER_SECOND)
        goal("share of the time that the device works", found["busy"], _BUSY)
    if OURS in (found := results.get("learning", {})):
        share = round(found[OURS]["optimizer_bytes"] / found[MASKING]["optimizer_bytes"], 3)
        goal("updates/s over gradient masking", found[MASKING]["speed_of_blocks"], _FASTER)
        goal("optimizer memory of masking's", share, _MEMORY, most=True)
    return goals


def _training(sizes: Sizes, device: Device, folder: Path) -> Training:
    model = sizes.model()
    schedule = Schedule(updates=ENDLESS, warmup_updates=1000, validate_every=ENDLESS, seed=1, clip_norm=1.0)
    settings = PretrainingSettings(schedule, sizes.tokens, 1e-3, 128, 0.1)
    trainable = Pretraining(model, untested(device), settings, folder)
    examples = sizes.examples(sizes.shape.vocabulary)
    batches = TrainingBatches(examples, sizes.tokens, model.config.pad_token_id, 1)
    training = Training(trainable, batches, schedule, device, folder / "checkpoint", "pretraining")
    # As after the first validation: from then on losses are read together.
    point = CurvePoint(update=0, bleu=0.0, chrf=0.0, nll=10.0, nll_shuffled=10.0, claimed=0)
    training.progress.curve.append(point)
    return training


def _steps(training: Training, count: int, device: Device) -> float:
    """Seconds of so many updates."""
    began = now(device)
    for _ in range(count):
        training.take_step()
    return now(device) - began


def _profiled(training: Training, updates: int, device: Device) -> dict[str, Any]:
    """What works how long in an update: the device's own time does not depend on what the profiler costs."""
    on_cuda = device.torch.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities) as profiler:
        _steps(training, updates, device)
    kind = DeviceType.CUDA if on_cuda else DeviceType.CPU
    works: Any = [event for event in profiler.events() if event.device_type == kind and not event.is_user_annotation]
    seconds = covered((event.time_range.start, event.time_range.end) for event in works) / 1e6
    rows: Any = profiler.key_averages()
    times = {row.key: row.self_device_time_total if on_cuda else row.self_cpu_time_total for row in rows}
    whole = sum(times.values()) or 1.0
    top = sorted(times, key=lambda key: -times[key])[:_OPERATORS]
    return {
        "device_seconds_per_update": seconds / updates,
        "top_operators": {key: round(times[key] / whole, 3) for key in top},
    }


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """How much of a line so many spans cover together."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _forget_peak(device: Device) -> None:
    if device.torch.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(device: Device) -> int:
    return torch.cuda.max_memory_allocated() if device.torch.type == "cuda" else peak_resident()


def elapsed(began: float) -> float:
    """Seconds since a moment of `time.monotonic`."""
    return time.monotonic() - began
