"""What the server adds to the engine: throughput beside bare CTranslate2, latency under load, switches and swaps."""

import shutil
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import Goal, once, versions
from benchmarks.compiler.shapes import DOMAIN, OPUS_MT, Shape, all_text
from benchmarks.scoreboard.overhead.capacity import Setting, measure_saturation, measure_startup
from benchmarks.scoreboard.overhead.latency import measure_latency, measure_swap, measure_switch
from benchmarks.scoreboard.overhead.random_weights import bundles_of
from benchmarks.serving.process import make_live
from fmalloc.corpus import read_corpus
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.commands.progress import console

# With random weights: as large as a real model, and so small that the server's own work weighs as much as the model's.
_SHAPES = (OPUS_MT, Shape("small", 128, 1024, 4, 2_000, "swish", layers=3))
# All outputs of random weights have this length.
_TOKENS, _LINES = 20, 96
LEARNED = "learned"
# Loads that have a goal.
_AIMED = ("documents, exact", "sentences, exact", "documents, padded", "sentences, padded")
_MEASURES: Mapping[str, Callable[[Setting], Any]] = {
    "startup": measure_startup,
    "saturation": measure_saturation,
    "latency": measure_latency,
    "switch": measure_switch,
    "swap": measure_swap,
}


def measure_overhead(
    bundles: Mapping[str, tuple[Path, Path]], corpora: Path, beam_size: int, work: Path
) -> dict[str, Any]:
    """Of two bundles of each domain, the first of which is served, and of random weights."""
    folder = work / "overhead"
    lines = {name: _lines(corpora, name, bundle) for name, (bundle, _) in bundles.items()}
    setting = Setting(_served(bundles, folder / "bundles"), lines, folder, beam_size)
    measured, found = folder / "measured", dict[str, Any]()
    for name, measure in _MEASURES.items():
        console.print(f"{name} …", markup=False)
        found[name] = once(measured / f"{name}.json", partial(measure, setting))
    models = {LEARNED: found.pop("saturation")}
    text, sources = all_text(corpora), {DOMAIN: _lines(corpora, DOMAIN, next(iter(bundles.values()))[0])}
    for shape in _SHAPES:
        console.print(f"saturation, {shape.name} …", markup=False)
        own = folder / shape.name
        random = Setting(bundles_of(shape, text, own), sources, own, beam_size, _TOKENS)
        models[shape.name] = once(measured / f"saturation-{shape.name}.json", partial(measure_saturation, random))
    return {
        **found,
        "versions": versions("fmalloc", "ctranslate2", "starlette", "uvicorn", "aiohttp"),
        "saturation": models,
        "shapes": {shape.name: asdict(shape) for shape in _SHAPES},
        "tokens": _TOKENS,
        "beam_size": beam_size,
        "domain": setting.domain,
        "lines": len(setting.lines),
    }


def _served(bundles: Mapping[str, tuple[Path, Path]], folder: Path) -> Path:
    for path in (path for both in bundles.values() for path in both):
        shutil.copytree(path, folder / path.name, dirs_exist_ok=True)
    make_live(folder, {name: first.name for name, (first, _) in bundles.items()})
    return folder


def _lines(corpora: Path, name: str, path: Path) -> list[str]:
    """Of the test set, each once; none without a letter, which is not translated, nor one that is split in any case."""
    bundle = Bundle.read(path)
    encode, longest = Tokenizer.load(bundle.tokenizer).encode, bundle.manifest.maximum_length // 2
    lines = dict.fromkeys(pair.source for pair in read_corpus(corpora / name, bundle.manifest.languages).test)
    return [line for line in lines if any(map(str.isalpha, line)) and len(encode(line)) <= longest][:_LINES]


def goals_of_overhead(found: Mapping[str, Any]) -> list[Goal]:
    """Of what was measured."""
    start, waiting = statistics.median(found["startup"]["seconds"]), found["switch"]["route_seconds"]
    routing = 1000 * statistics.median(waiting)
    other = sum(row["other"] for row in [*found["latency"], *found["swap"].values()])
    same = min(least_same(saturation, "exact") for saturation in found["saturation"].values())
    return [
        *(
            _goal(f"{model}, {load}", statistics.median(saturation["ratio"][load]))
            for model, saturation in found["saturation"].items()
            for load in _AIMED
        ),
        {"name": "exact: translations as alone", "value": same, "goal": "1.0", "met": same == 1},
        {"name": "seconds until the server listens", "value": round(start, 2), "goal": "<= 2", "met": start <= 2},
        {"name": "router, ms a sentence, p50", "value": round(routing, 3), "goal": "<= 1", "met": routing <= 1},
        {"name": "answers other than 200, 429 and 503", "value": other, "goal": "0", "met": other == 0},
    ]


def least_same(saturation: Mapping[str, Any], mode: str) -> float:
    """The least share of lines, over the loads of a mode, that translate as they do alone."""
    alone = saturation["same_translations_alone"]
    return float(min(share for load, shares in alone.items() if load.endswith(mode) for share in shares))


def _goal(name: str, ratio: float) -> Goal:
    value = round(ratio, 3)
    return {
        "name": f"{name}: throughput, bare translate_batch = 1",
        "value": value,
        "goal": ">= 0.9",
        "met": ratio >= 0.9,
    }
