"""Compile and emit a shape's store at every level, for every engine and type of weights."""

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compiler.engines import Condition
from benchmarks.compiler.shapes import DOMAIN, Shape, store_of
from benchmarks.compiler.unsliced import unsliced
from fmalloc.corpus import Corpus, Pair
from fmalloc_export.checks.size import flops_per_token, parameters
from fmalloc_export.compiler import compile_at, emit
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.transformer import one_thread
from fmalloc_export.emit.emitter import emitter_of
from fmalloc_export.options import Level, Options
from fmalloc_export.passes.calibration import TextCalibration
from fmalloc_export.passes.compact_cells import Rankings
from fmalloc_export.passes.pad_width import PadWidth
from fmalloc_export.passes.pipeline import DomainText
from fmalloc_export.passes.vocabulary_use import token_counts, trimming
from fmalloc_shared.commands.progress import console
from fmalloc_shared.files import write_atomically

# Of the learned model; students are measured by benchmarks.compiler.distil.
LEVELS: tuple[Level, ...] = ("O0", "O1", "O2")
FEW = "O2, 8,000 tokens"
KEEP = 0.5
_FEW_TOKENS = 8_000
_CALIBRATION_TOKENS = 8_192


@dataclass(frozen=True)
class Part:
    """A shape, and how it is run."""

    shape: Shape
    conditions: tuple[Condition, ...]
    engines: tuple[str, ...]
    levels: tuple[Level, ...]
    pytorch: bool


def build(part: Part, text: Sequence[Pair], corpus: Corpus, work: Path) -> dict[str, Any]:
    """Compile and emit every model of a shape; what each holds, and where its files are."""
    domain = Domain.load(store_of(part.shape, work / "store", text), DOMAIN)
    with one_thread():
        models = models_of(domain, part, corpus.train, work)
        emitted = emit_all(domain, part, models, work)
    if not (work / "tokenizer").exists():
        domain.write_tokenizer(work / "tokenizer")
    counts = token_counts(domain.vocabulary, domain.tokenizer, [pair.target for pair in corpus.test])
    return {
        "test_tokens_covered": {
            name: float(counts[model.target_tokens].sum() / counts.sum()) for name, model in models.items()
        },
        "cells": {name: sum(model.widths.values()) for name, model in models.items()},
        "target_tokens": {name: len(model.target_tokens) for name, model in models.items()},
        "parameters": {name: parameters(domain, model) for name, model in models.items()},
        "flops_per_token": {name: flops_per_token(domain, model) for name, model in models.items()},
        "passes": {level: json.loads((work / f"{level}.json").read_text()) for level in part.levels},
        "megabytes": {name: megabytes(path) for name, path in emitted.items()},
        "folders": {name: path.name for name, path in emitted.items()},
    }


def models_of(domain: Domain, part: Part, text: Sequence[Pair], work: Path) -> dict[str, DomainModel]:
    """By level; `base` has every cell on. `random` has the widths of the highest level, or half of them where that is
    not -O2, with cells drawn by chance; `no cells` is the bound: the least that any compaction could leave."""
    found = {"base": compile_at(unsliced(domain), Options()).after}
    calibration = TextCalibration(domain.base, domain.tokenizer, text, domain.languages, _CALIBRATION_TOKENS)
    trimmed = trimming(domain, text, ())
    text_ = DomainText(calibration, Rankings(calibration), trimmed)
    for level in part.levels:
        kept = work / f"{level}.npz"
        if not kept.exists():
            console.print(f"{part.shape.name}: compiling -{level}")
            compiled = compile_at(domain, Options(level=level), text_, KEEP, on_pass=console.print)
            reports = {step.name: step.report for step in compiled.steps}
            write_atomically(work / f"{level}.json", json.dumps(reports).encode())
            save(compiled.after, kept)
        found[level] = restore(kept, domain.model)
    if part.pytorch:
        fewer, _ = trimming(domain, text, (), _FEW_TOKENS).apply(found["O2"])
        found[FEW] = fewer
    last = found[part.levels[-1]]
    share = 1.0 if "O2" in part.levels else KEEP
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
            types = ("int8",) if name in ("random", "no cells", FEW) else ("float32", "int8")
            if engine != "ctranslate2" and name not in (*part.levels, FEW):
                continue
            for quantization in types:
                path = work / f"{name}-{engine}-{quantization}".replace(",", "").replace(" ", "-")
                if not path.exists():
                    console.print(f"emitting {path.name}")
                    padded, _ = PadWidth(1 if quantization == "float32" else 16).apply(model)
                    staged = path.with_suffix(".partial")
                    shutil.rmtree(staged, ignore_errors=True)
                    emit(domain, emitter_of(engine), padded, staged, quantization)
                    staged.rename(path)
                emitted[f"{name}, {engine} {quantization}"] = path
    return emitted


def megabytes(directory: Path) -> float:
    """Of all files below a folder."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / 1e6
