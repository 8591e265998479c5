"""What the compiler is worth: speed, size and quality of every level, engine and type of weights.

Shapes with random weights tell speed and size; a store that `make real` learned tells quality. Every part is kept below
`--work`, so that a killed run goes on where it stopped. Writes results/export.json.
"""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.compaction import study
from benchmarks.engines import Condition, compare, load, pytorch_runner, runner
from benchmarks.machine import Goal, versions, write_results
from benchmarks.shapes import DOMAIN, OPUS_MT, OPUS_MT_8K, WMT19, Shape, store_of
from fmalloc.corpus import Languages, Pair, read_corpus, read_pairs
from fmalloc.evaluate import score
from fmalloc.progress import console
from fmalloc.store import Store
from fmalloc_export.assemble import export
from fmalloc_export.calibration import TextCalibration
from fmalloc_export.compiler import compile_at, emit
from fmalloc_export.domain import Domain
from fmalloc_export.emitter import emitter_of
from fmalloc_export.model import DomainModel
from fmalloc_export.options import LEVELS, Options
from fmalloc_export.passes.compact_cells import LossCurves
from fmalloc_export.passes.pad_width import PadWidth
from fmalloc_export.pipeline import Text
from fmalloc_export.publish import writing
from fmalloc_export.size import flops_per_token, parameters
from fmalloc_export.transformer import one_thread
from fmalloc_export.vocabulary_use import trimming
from fmalloc_runtime.engine import TranslationOptions
from fmalloc_runtime.tokenizer import Tokenizer
from fmalloc_runtime.translator import EngineSettings, Translator
from fmalloc_shared.files import write_atomically

BASELINE = "base, ctranslate2 int8"
_LANGUAGES = Languages("de", "en")
_OUTPUT_TOKENS = 20
_KEEP = 0.5
_CALIBRATION_TOKENS = 8_192
_TEST_LINES = 400
_MEMORY = """
import sys
from benchmarks.engines import Condition, load, runner
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1e3
sources = [line.split() for line in sys.stdin.read().splitlines()]
before = resident()
runner(load(__import__("pathlib").Path(sys.argv[1]), 1), Condition(1, 4, 1, 1, 1, 20))(sources[:1])
print(resident() - before)
"""


@dataclass(frozen=True)
class Part:
    """A shape, and how it is run."""

    shape: Shape
    conditions: tuple[Condition, ...]
    engines: tuple[str, ...]
    levels: tuple[str, ...]
    pytorch: bool


def _conditions(batches: Mapping[int, tuple[int, int]], beams: Sequence[int], threads: Sequence[int]) -> Any:
    """`batches`: batch size to number of sentences and of repeats."""
    return tuple(
        Condition(batch, beam, thread, sentences, repeats, _OUTPUT_TOKENS)
        for thread in threads
        for batch, (sentences, repeats) in batches.items()
        for beam in beams
    )


PARTS = (
    Part(OPUS_MT, _conditions({1: (6, 5), 32: (32, 3)}, (1, 4), (1, 2)), ("ctranslate2", "onnx"), LEVELS, True),
    Part(OPUS_MT_8K, _conditions({1: (10, 7)}, (1, 4), (1,)), ("ctranslate2",), LEVELS, False),
    Part(WMT19, _conditions({1: (4, 3)}, (1, 4), (1,)), ("ctranslate2",), ("O0", "O1"), False),
)


def once(path: Path, measure: Callable[[], Any]) -> Any:
    """What was measured before, or is now."""
    if not path.exists():
        found = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(found).encode())
    return json.loads(path.read_text())


def models_of(domain: Domain, part: Part, text: Sequence[Pair], work: Path) -> dict[str, DomainModel]:
    """By level; `base` has every cell on. `random` has the widths of the highest level, or half of them where that is
    not -O2, with cells drawn by chance; `no cells` is the bound: the least that any compaction could leave."""
    everything = [replace(layer, mask=np.ones_like(layer.mask)) for layer in domain.model.feed_forward]
    whole = replace(domain.model, feed_forward=tuple(everything))
    found = {"base": compile_at(replace(domain, model=whole), Options()).after}
    calibration = TextCalibration(domain.base, domain.tokenizer, text, domain.languages, _CALIBRATION_TOKENS)
    trimmed = trimming(domain, text, ())
    text_ = Text(calibration, LossCurves(calibration), trimmed)
    for level in part.levels:
        kept = work / f"{level}.npz"
        if not kept.exists():
            console.print(f"{part.shape.name}: compiling -{level}")
            compiled = compile_at(domain, Options(level=level), text_, _KEEP, on_pass=console.print)  # type: ignore[arg-type]
            reports = {step.name: step.report for step in compiled.steps}
            write_atomically(work / f"{level}.json", json.dumps(reports).encode())
            save(compiled.after, kept)
        found[level] = restore(kept, domain.model)
    last = found[part.levels[-1]]
    share = 1.0 if "O2" in part.levels else _KEEP
    draw = np.random.default_rng(0)
    baked = compile_at(domain, Options()).after
    layers = []
    for layer in baked.feed_forward:
        count = max(1, min(layer.width, round(share * last.widths[layer.name])))
        layers.append(layer.select(np.sort(draw.choice(layer.width, count, replace=False))))
    found["random"] = replace(baked, feed_forward=tuple(layers), target_tokens=last.target_tokens)
    bound = [layer.select(np.arange(1)) for layer in baked.feed_forward]
    found["no cells"] = replace(last, feed_forward=tuple(bound))
    return found


def save(model: DomainModel, path: Path) -> None:
    """Keep what a long compilation found."""
    arrays = {
        f"{layer.name}/{field.name}": getattr(layer, field.name)
        for layer in model.feed_forward
        for field in fields(layer)
        if field.name != "name"
    }
    content = io.BytesIO()
    np.savez(content, target_tokens=model.target_tokens, **arrays)
    write_atomically(path, content.getvalue())


def restore(path: Path, model: DomainModel) -> DomainModel:
    """What `save` kept of a compilation of `model`."""
    with np.load(path) as arrays:
        layers = tuple(
            replace(layer, **{f.name: arrays[f"{layer.name}/{f.name}"] for f in fields(layer) if f.name != "name"})
            for layer in model.feed_forward
        )
        return replace(model, feed_forward=layers, target_tokens=arrays["target_tokens"])


def emit_all(domain: Domain, part: Part, models: Mapping[str, DomainModel], work: Path) -> dict[str, Path]:
    """Every model, for every engine and type that is compared."""
    emitted = {}
    for engine in part.engines:
        for name, model in models.items():
            types = ("int8",) if name in ("random", "no cells") else ("float32", "int8")
            if engine != "ctranslate2" and name not in part.levels:
                continue
            for quantization in types:
                path = work / f"{name}-{engine}-{quantization}".replace(" ", "-")
                if not path.exists():
                    console.print(f"emitting {path.name}")
                    padded, _ = PadWidth(1 if quantization == "float32" else 16).apply(model)
                    staged = path.with_suffix(".partial")
                    emit(domain, emitter_of(engine), padded, staged, quantization)
                    staged.rename(path)
                emitted[f"{name}, {engine} {quantization}"] = path
    return emitted


def build(part: Part, text: Sequence[Pair], domain_text: Sequence[Pair], work: Path) -> dict[str, Any]:
    """Compile and emit every model of a shape; what each holds, and where its files are."""
    domain = Domain.load(store_of(part.shape, work / "store", text), DOMAIN)
    with one_thread():
        models = models_of(domain, part, domain_text, work)
        emitted = emit_all(domain, part, models, work)
    if not (work / "tokenizer").exists():
        domain.write_tokenizer(work / "tokenizer")
    return {
        "cells": {name: sum(model.widths.values()) for name, model in models.items()},
        "target_tokens": {name: len(model.target_tokens) for name, model in models.items()},
        "parameters": {name: parameters(domain, model) for name, model in models.items()},
        "flops_per_token": {name: flops_per_token(domain, model) for name, model in models.items()},
        "passes": {level: json.loads((work / f"{level}.json").read_text()) for level in part.levels},
        "megabytes": {name: _megabytes(path) for name, path in emitted.items()},
        "folders": {name: path.name for name, path in emitted.items()},
    }


def measure_shape(part: Part, text: Sequence[Pair], domain_text: Sequence[Pair], work: Path) -> dict[str, Any]:
    """Speed and size of every model of a shape."""
    built = once(work / "built.json", lambda: build(part, text, domain_text, work))
    emitted = {name: work / folder for name, folder in built.pop("folders").items()}
    tokenizer = Tokenizer.load(work / "tokenizer")
    sources = [tokenizer.encode(pair.source) for pair in domain_text[:: max(1, len(domain_text) // 64)]][:64]
    sources = sorted(sources, key=len)[16:48]  # of middling length
    sources = sources[::2] + sources[1::2]
    base = Domain.load(Store.open(work / "store"), DOMAIN) if part.pytorch else None
    timings = {}
    for condition in part.conditions:
        runs = {name: runner(load(path, condition.threads), condition) for name, path in emitted.items()}
        if base:
            ids = {token: index for index, token in enumerate(base.vocabulary.source)}
            runs["base, PyTorch float32"] = pytorch_runner(base.base, ids, condition)
        timings[condition.label] = compare(runs, sources, condition).report(BASELINE)
        del runs
        for name, row in timings[condition.label].items():
            console.print(f"{part.shape.name}, {condition.label}: {name} {row['ms_per_sentence']:.1f} ms")
    return {
        **built,
        "resident_megabytes": {name: resident(path, sources[0]) for name, path in emitted.items()},
        "source_tokens": [len(source) for source in sources],
        "speed": timings,
    }


def _megabytes(directory: Path) -> float:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / 1e6


def resident(directory: Path, source: Sequence[str]) -> float:
    """Megabytes that a fresh process grows by when it loads the model and translates a sentence with it."""
    command = [sys.executable, "-c", _MEMORY, str(directory)]
    done = subprocess.run(command, input=" ".join(source), capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure_real(store: Store, corpora: Path, work: Path) -> dict[str, Any]:
    """BLEU on test sets, speed and size of every level of a learned store's tasks."""
    found: dict[str, Any] = {}
    for task in store.tasks():
        corpus = read_corpus(corpora / task.name, _LANGUAGES)
        found[task.name] = once(
            work / f"{task.name}.json",
            lambda name=task.name, corpus=corpus: measure_task(Domain.load(store, name), corpus, work),
        )
    return found


def measure_task(domain: Domain, corpus: Any, work: Path) -> dict[str, Any]:
    """One task of the store: all bundles, then quality, then speed."""
    rows, paths = {}, {}
    test = corpus.test[:_TEST_LINES]
    for engine in ("ctranslate2", "onnx"):
        for level in LEVELS:
            for quantization in ("float32", "int8"):
                name = f"{level}, {engine} {quantization}"
                bundles = work / f"{engine}-{level}-{quantization}"
                options = Options(engine, quantization, level)
                with writing(bundles):
                    done = export(domain, bundles, options, corpus.train if level != "O0" else (), live=False)
                translator = Translator.load(done_bundle(done.path), EngineSettings("cpu", intra_threads=1))
                texts = [
                    t.text for t in translator.translate([p.source for p in test], TranslationOptions(max_length=256))
                ]
                metrics = score(texts, [pair.target for pair in test]).score
                manifest = done.manifest
                rows[name] = {
                    "bleu": metrics.bleu,
                    "chrf": metrics.chrf,
                    "keep": manifest.keep,
                    "cells": sum(manifest.widths.values()),
                    "target_tokens": manifest.target_tokens,
                    "megabytes": _megabytes(done.path / "model"),
                    "dev": manifest.quality.model_dump() if manifest.quality else None,
                    "parity": manifest.parity.model_dump(),
                    "passes": [step.model_dump() for step in manifest.passes],
                }
                paths[name] = done.path / "model"
                console.print(f"{domain.name}, {name}: {metrics} {manifest.keep}")
    base = work / f"{domain.name}-unsliced"
    whole = replace(
        domain.model,
        feed_forward=tuple(replace(layer, mask=np.ones_like(layer.mask)) for layer in domain.model.feed_forward),
    )
    for quantization in ("float32", "int8"):
        path = base.with_name(f"{base.name}-{quantization}")
        if not path.exists():
            compiled = compile_at(replace(domain, model=whole), Options(quantization=quantization))
            compiled.emit(path, quantization)
        paths[f"base, ctranslate2 {quantization}"] = path
    tokenizer = Tokenizer.load(done.path / "tokenizer")
    sources = [tokenizer.encode(pair.source) for pair in test[:64]]
    timings = {}
    for condition in _conditions({1: (64, 5), 32: (64, 5)}, (1, 4), (1,)):
        runs = {name: runner(load(path, condition.threads), condition) for name, path in paths.items()}
        timings[condition.label] = compare(runs, sources, condition).report(BASELINE)
    return {"test_lines": len(test), "models": rows, "speed": timings}


def done_bundle(path: Path) -> Any:
    """The bundle that an export wrote."""
    from fmalloc_runtime.bundle import Bundle

    return Bundle.open(path)


def goals(results: Mapping[str, Any]) -> list[Goal]:
    """What the compiler is meant to reach."""
    found: list[Goal] = []

    def add(name: str, value: float, least: float) -> None:
        found.append({"name": name, "value": round(value, 2), "goal": f">= {least}", "met": value >= least})

    first = "batch 1, beam 4, 1 thread"
    opus = results[OPUS_MT.name]["speed"][first]
    small = results[OPUS_MT_8K.name]["speed"][first]
    ours, bound = "O2, ctranslate2 int8", "no cells, ctranslate2 int8"
    add("OPUS-MT shape: -O2 int8 against the unpruned base in int8, batch 1", 1 / opus[ours]["time_relative"], 3.5)
    ratio = opus["base, PyTorch float32"]["ms_per_sentence"] / opus[ours]["ms_per_sentence"]
    add("OPUS-MT shape: -O2 int8 against PyTorch float32, batch 1", ratio, 15)
    add("8k vocabulary: -O2 int8 against the unpruned base in int8, batch 1", 1 / small[ours]["time_relative"], 1.5)
    for shape, row in ((OPUS_MT, opus), (OPUS_MT_8K, small)):
        value = round(1 / row[bound]["time_relative"], 2)
        name = f"{shape.name} shape: bound, the same with no cells at all"
        found.append({"name": name, "value": value, "goal": "shown", "met": True})
    for task, rows in results["real"].items():
        models = rows["models"]
        masked = models["O0, ctranslate2 float32"]["bleu"]
        lost = masked - models["O2, ctranslate2 int8"]["bleu"]
        name = f"{task}: BLEU that -O2 int8 loses on the test set"
        found.append({"name": name, "value": round(lost, 2), "goal": "<= 0.3", "met": lost <= 0.3})
    for task, rows in results["compaction"].items():
        half = {row["how"]: row["nll"] - rows["whole"]["nll"] for row in rows["cut"] if row["keep"] == 0.25}
        add(
            f"{task}, 25 % of the cells: NLL lost without the refit, in units of with it",
            half["no refit"] / half["compact"],
            2,
        )
        value = half["random"] / half["no refit"]
        add(f"{task}, 25 % of the cells: NLL lost by chance, in units of our choice without refit", value, 1)
    return found


@click.command()
@click.option("--store", "store_path", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/export"))
@click.option("--build-only", is_flag=True, help="Compile and emit the shapes' models; measure nothing.")
@click.option("--part", "chosen", multiple=True, help="Only these parts; results are written once all are there.")
def main(store_path: Path, corpora: Path, work: Path, build_only: bool, chosen: tuple[str, ...]) -> None:
    """Measure the compiler."""
    store = Store.open(store_path)
    parts: dict[str, Callable[[], Any]] = {
        "compaction": lambda: study(store, corpora),
        "real": lambda: measure_real(store, corpora, work / "real"),
    }
    text = _all_text(corpora)
    domain_text = read_pairs(corpora / DOMAIN, _LANGUAGES)
    for part in PARTS:
        action = build if build_only else measure_shape
        parts[part.shape.name] = partial(action, part, text, domain_text, work / part.shape.name)
    for name, measure in parts.items():
        if (not chosen or name in chosen) and not (build_only and name in ("compaction", "real")):
            once(work / name / "built.json" if build_only else work / f"{name}.json", measure)
    kept = {name: work / f"{name}.json" for name in parts}
    if missing := [name for name, path in kept.items() if not path.exists()]:
        console.print(f"still to be measured: {', '.join(missing)}")
        return
    results = {name: json.loads(path.read_text()) for name, path in kept.items()}
    of = versions("torch", "transformers", "ctranslate2", "onnxruntime", "numpy", "sacrebleu")
    payload = {**results, "keep": _KEEP, "output_tokens": _OUTPUT_TOKENS, "versions": of}
    console.print(f"wrote {write_results('export', payload, goals(results))}")


def _all_text(corpora: Path) -> list[Pair]:
    return [pair for path in sorted(corpora.glob("*/train.tsv")) for pair in read_pairs(path, _LANGUAGES)]


if __name__ == "__main__":
    main()
