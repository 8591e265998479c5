"""What the server reaches under load: `python -m benchmarks.serving.server --bundles DIR --corpora DIR`.

Writes results/server.json. Generator and server share the machine: what the generator takes, the server lacks. Each
part is kept in the work folder as soon as it is measured; run again, the benchmark goes on with the next.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.common import Goal, once, versions, write_results
from benchmarks.compiler.export import all_text
from benchmarks.compiler.shapes import DOMAIN, OPUS_MT, Shape
from benchmarks.serving.capacity import Setting, measure_saturation, measure_startup
from benchmarks.serving.latency import measure_latency, measure_swap, measure_switch
from benchmarks.serving.shaped import bundles_of
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_shared.commands.command import Command
from fmalloc_shared.errors import FmallocError

_GOALS = ("documents", "sentences")
_MODES = ("exact", "padded")
# With random weights: as large as a real model, and so small that the server's own work weighs as much as the model's.
_SMALL = Shape("small", 128, 1024, 4, 2_000, "swish", layers=3)
_SHAPES = (OPUS_MT, _SMALL)
# All outputs of random weights have this length.
_SHAPE_LINES, _SHAPE_TOKENS = 240, 20


@click.command(cls=Command)
@click.option("--bundles", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/server"), show_default=True)
@click.option("--beam-size", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--lines", type=click.IntRange(min=1), default=500, show_default=True, help="Of each test set, at most.")
def main(bundles: Path, corpora: Path, work: Path, beam_size: int, lines: int) -> None:
    """Measure throughput at saturation, latency under load, switches of domain and swaps of bundles."""
    setting = Setting(bundles, _texts(bundles, corpora, lines), work, beam_size)
    measures: dict[str, Callable[[Setting], Any]] = {
        "startup": measure_startup,
        "saturation": measure_saturation,
        "latency": measure_latency,
        "switch": measure_switch,
        "swap": measure_swap,
    }
    found = {}
    for name, measure in measures.items():
        click.echo(f"{name} …", err=True)
        found[name] = once(work / f"{name}.json", partial(measure, setting))
    text, sources = all_text(corpora), _texts_of([DOMAIN], corpora, _SHAPE_LINES)
    shapes = {}
    for shape in _SHAPES:
        click.echo(f"saturation, {shape.name} …", err=True)
        folder = work / shape.name
        random = Setting(bundles_of(shape, text, folder), sources, folder, beam_size, _SHAPE_TOKENS)
        shapes[shape.name] = once(folder / "saturation.json", partial(measure_saturation, random))
    found["saturation_by_shape"] = shapes
    goals = _goals(found)
    payload = {
        "versions": versions("fmalloc", "ctranslate2", "onnxruntime", "starlette", "uvicorn", "aiohttp"),
        "bundles": {domain: _described(bundles / name) for domain, name in LiveIndex.of(bundles).domains.items()},
        "beam_size": beam_size,
        "domain": setting.domain,
        "lines": len(setting.lines),
        "shapes": {shape.name: asdict(shape) for shape in _SHAPES},
        **found,
    }
    write_results("server", payload, goals)
    for goal in goals:
        click.echo(f"{goal['name']}: {goal['value']} (goal {goal['goal']}, {'met' if goal['met'] else 'not met'})")


def _goals(found: Mapping[str, Any]) -> list[Goal]:
    start = statistics.median(found["startup"]["seconds"])
    routing = statistics.median(found["switch"]["route_seconds"]) * 1000
    other = sum(row["other"] for row in [*found["latency"], *found["swap"].values()])
    alone = found["saturation"]["same_translations_alone"]
    same = min(share for load, shares in alone.items() if "exact" in load for share in shares)
    return [
        *(
            _saturation_goal(f"{load}, {mode}", model, part["ratio"])
            for model, part in (*found["saturation_by_shape"].items(), ("the bundles", found["saturation"]))
            for mode in _MODES
            for load in _GOALS
        ),
        {"name": "exact: translations as alone", "value": same, "goal": "1.0", "met": same == 1},
        {"name": "seconds until it listens", "value": round(start, 2), "goal": "<= 2", "met": start <= 2},
        {"name": "router, ms a sentence, p50", "value": round(routing, 3), "goal": "<= 1", "met": routing <= 1},
        {"name": "answers other than 200, 429 and 503", "value": other, "goal": "0", "met": other == 0},
    ]


def _saturation_goal(load: str, model: str, ratios: Mapping[str, list[float]]) -> Goal:
    ratio = statistics.median(ratios[load])
    name = f"{model}, {load}: throughput against bare translate_batch"
    return {"name": name, "value": round(ratio, 3), "goal": ">= 0.9", "met": ratio >= 0.9}


def _texts(bundles: Path, corpora: Path, most: int) -> dict[str, list[str]]:
    return _texts_of(LiveIndex.of(bundles).domains, corpora, most)


def _texts_of(domains: Iterable[str], corpora: Path, most: int) -> dict[str, list[str]]:
    texts = {}
    for domain in domains:
        path = corpora / domain / "test.tsv"
        if not path.is_file():
            raise FmallocError(f"{path}: no such file; it has to hold the text of a live domain")
        lines = [line.split("\t")[0] for line in path.read_text(encoding="utf-8").splitlines()]
        # What holds no letter is not translated at all.
        texts[domain] = list(dict.fromkeys(line for line in lines if any(map(str.isalpha, line))))[:most]
    return texts


def _described(path: Path) -> dict[str, Any]:
    manifest = Bundle.read(path).manifest
    return {"bundle": path.name, "engine": manifest.engine.model_dump(), "level": manifest.level}


if __name__ == "__main__":
    main()
