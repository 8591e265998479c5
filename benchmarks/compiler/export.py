"""What the compiler is worth: speed, size and quality of every level, engine and type of weights.

Shapes with random weights tell speed and size; a store that `make real` learned tells quality. Every part is kept below
`--work`, so that a killed run goes on where it stopped. Writes results/export.json.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import click

from benchmarks.common import Goal, once, versions, write_results
from benchmarks.compiler import disk
from benchmarks.compiler.compaction import study
from benchmarks.compiler.emitted import FEW, KEEP, LEVELS, Part, build, restore
from benchmarks.compiler.engines import (
    BASELINE,
    OUTPUT_TOKENS,
    Condition,
    compare,
    conditions,
    load,
    pytorch_runner,
    runner,
)
from benchmarks.compiler.learned import measure_real, measure_real_speed
from benchmarks.compiler.shapes import DOMAIN, OPUS_MT, OPUS_MT_8K, WMT19
from fmalloc.corpus import Corpus, Pair, read_corpus, read_pairs
from fmalloc.store.store import Store
from fmalloc_export.compiler import emit
from fmalloc_export.domain.domain import Domain
from fmalloc_export.emit.emitter import emitter_of
from fmalloc_export.passes.pad_width import PadWidth
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.commands.progress import console
from fmalloc_shared.languages import LanguagePair

_LANGUAGES = LanguagePair("de", "en")
_MEMORY = """
import pathlib, sys
from benchmarks.compiler.engines import Condition, load, runner
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1e3
sources = [line.split() for line in sys.stdin.read().splitlines()]
before = resident()
engine = load(pathlib.Path(sys.argv[1]), 1)
runner(engine, Condition(1, 4, 1, 1, 1, 20))(sources[:1])
print(resident() - before)
"""

PARTS = (
    Part(OPUS_MT, conditions({1: (6, 5), 32: (32, 3)}, (1, 4), (1, 2)), ("ctranslate2", "onnx"), LEVELS, True),
    Part(OPUS_MT_8K, conditions({1: (10, 7)}, (1, 4), (1,)), ("ctranslate2",), LEVELS, False),
    Part(WMT19, conditions({1: (3, 3)}, (4,), (1,)), ("ctranslate2",), ("O0", "O1"), False),
)


def measure_shape(part: Part, text: Sequence[Pair], corpus: Corpus, work: Path) -> dict[str, Any]:
    """Speed and size of every model of a shape."""
    built = once(work / "built.json", lambda: build(part, text, corpus, work))
    emitted = {name: work / folder for name, folder in built.pop("folders").items()}
    tokenizer = Tokenizer.load(work / "tokenizer")
    sources = [tokenizer.encode(pair.source) for pair in corpus.test[:64]]
    sources = sorted(sources, key=len)[16:48]  # of middling length
    sources = sources[::2] + sources[1::2]
    base = Domain.load(Store.open(work / "store"), DOMAIN) if part.pytorch else None
    timings = {}
    for condition in part.conditions:
        kept = work / f"{condition.label}.json"
        timings[condition.label] = once(kept, partial(time_all, part, emitted, base, sources, condition))
    return {
        **built,
        "resident_megabytes": {name: resident(path, sources[0]) for name, path in emitted.items()},
        "source_tokens": [len(source) for source in sources],
        "speed": timings,
    }


def time_all(
    part: Part, emitted: Mapping[str, Path], base: Domain | None, sources: Sequence[Sequence[str]], condition: Condition
) -> dict[str, Any]:
    """Every model of a shape under one condition."""
    runs = {name: runner(load(path, condition.threads), condition) for name, path in emitted.items()}
    if base:
        ids = {token: index for index, token in enumerate(base.vocabulary.source)}
        runs["base, PyTorch float32"] = pytorch_runner(base.base, ids, condition)
    report = compare(runs, sources, condition).report(BASELINE)
    for name, row in report.items():
        console.print(f"{part.shape.name}, {condition.label}: {name} {row['ms_per_sentence']:.1f} ms")
    return report


def measure_padding(work: Path) -> dict[str, Any]:
    """Widths as they are beside multiples of 16, in CTranslate2 on the CPU; `work` is of a shape that was built."""
    domain = Domain.load(Store.open(work / "store"), DOMAIN)
    model = restore(work / "O0.npz", domain.model)
    paths = {}
    for quantization, multiple in product(("int8", "float32"), (1, 16)):
        path = work / f"padded-{multiple}-{quantization}"
        shutil.rmtree(path, ignore_errors=True)
        padded, _ = PadWidth(multiple).apply(model)
        emit(domain, emitter_of("ctranslate2"), padded, path, quantization)
        paths[f"multiples of {multiple}, {quantization}"] = path
    tokenizer = Tokenizer.load(work / "tokenizer")
    sources = [tokenizer.encode("Die Anwendung muss nach der Aktualisierung neu gestartet werden.")] * 32
    found = {}
    for condition in conditions({1: (6, 9), 32: (32, 5)}, (4,), (1,)):
        runs = {name: runner(load(path, 1), condition) for name, path in paths.items()}
        found[condition.label] = compare(runs, sources, condition).report("multiples of 1, int8")
    return found


def resident(directory: Path, source: Sequence[str]) -> float:
    """Megabytes that a fresh process grows by when it loads the model and translates a sentence with it."""
    command = [sys.executable, "-c", _MEMORY, str(directory)]
    done = subprocess.run(command, input=" ".join(source), capture_output=True, text=True, check=True)
    return float(done.stdout)


def goals(results: Mapping[str, Any]) -> list[Goal]:
    """What the compiler is meant to reach."""
    found: list[Goal] = []

    def add(name: str, value: float, least: float) -> None:
        found.append({"name": name, "value": round(value, 2), "goal": f">= {least}", "met": value >= least})

    first = "batch 1, beam 4, 1 thread"
    opus, small = (results[shape.name]["speed"][first] for shape in (OPUS_MT, OPUS_MT_8K))
    pytorch = opus["base, PyTorch float32"]["ms_per_sentence"]
    for name in (f"{level}, {engine} int8" for engine in ("ctranslate2", "onnx") for level in ("O2", FEW)):
        add(f"OPUS-MT shape, {name}: speed, base in CTranslate2 int8 = 1", 1 / opus[name]["time_relative"], 3.5)
        add(f"OPUS-MT shape, {name}: speed, PyTorch float32 = 1", pytorch / opus[name]["ms_per_sentence"], 15)
    name = "O2, ctranslate2 int8"
    add(f"8k vocabulary, {name}: speed, base in CTranslate2 int8 = 1", 1 / small[name]["time_relative"], 1.5)
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
    for case, row in results["disk"].items():
        if case.startswith("-O0"):
            value = round(row["in_bundles"], 2)
            name = f"ten domains packed, {case}: disk in units of one bundle"
            found.append({"name": name, "value": value, "goal": "<= 2", "met": value <= 2})
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
        "real speed": lambda: measure_real_speed(store, corpora, work / "real"),
        "disk": lambda: disk.measure(store, corpora, work / "disk"),
    }
    text = all_text(corpora)
    corpus = read_corpus(corpora / DOMAIN, _LANGUAGES)
    for part in PARTS:
        action = build if build_only else measure_shape
        parts[part.shape.name] = partial(action, part, text, corpus, work / part.shape.name)
    parts["padding"] = lambda: measure_padding(work / OPUS_MT.name)
    for name, measure in parts.items():
        if (not chosen or name in chosen) and not (
            build_only and name in ("compaction", "real", "real speed", "disk", "padding")
        ):
            once(work / name / "built.json" if build_only else work / f"{name}.json", measure)
    kept = {name: work / f"{name}.json" for name in parts}
    if missing := [name for name, path in kept.items() if not path.exists()]:
        console.print(f"still to be measured: {', '.join(missing)}")
        return
    results = {name: json.loads(path.read_text()) for name, path in kept.items()}
    of = versions("torch", "transformers", "ctranslate2", "onnxruntime", "numpy", "sacrebleu")
    payload = {**results, "keep": KEEP, "output_tokens": OUTPUT_TOKENS, "versions": of}
    console.print(f"wrote {write_results('export', payload, goals(results))}")


def all_text(corpora: Path) -> list[Pair]:
    """The training pairs of all domains."""
    return [pair for path in sorted(corpora.glob("*/train.tsv")) for pair in read_pairs(path, _LANGUAGES)]


if __name__ == "__main__":
    main()
