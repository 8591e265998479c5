"""Decoders of every depth with random weights, in OPUS-MT's shape: speed alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compiler.emitted import megabytes
from benchmarks.compiler.engines import BASELINE, compare, conditions, load, pytorch_runner, runner
from benchmarks.compiler.shapes import DOMAIN, OPUS_MT, store_of
from benchmarks.compiler.unsliced import unsliced
from fmalloc.corpus import Pair
from fmalloc.distillation.student import student_of
from fmalloc_export.compiler import compile_at, emit
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.emit.emitter import emitter_of
from fmalloc_export.options import Options
from fmalloc_export.passes.pad_width import PadWidth
from fmalloc_export.passes.vocabulary_use import trimming
from fmalloc_shared.commands.progress import console

DEPTHS = (6, 3, 2, 1)
CELLS, TOKENS = 0.5, 8_000
PYTORCH = "base, PyTorch float32"


def name_of(depth: int) -> str:
    """For tables and keys."""
    return f"6+{depth}, ctranslate2 int8"


def measure_depths(text: Sequence[Pair], sources: Sequence[str], work: Path) -> dict[str, Any]:
    """Megabytes, and speed beside the base as it is; students have half of their cells and 8,000 target tokens."""
    domain = Domain.load(store_of(OPUS_MT, work / "store", text), DOMAIN)
    paths = {BASELINE: work / "base"}
    if not paths[BASELINE].exists():
        compile_at(unsliced(domain), Options(quantization="int8")).emit(paths[BASELINE], "int8")
    trimmed, _ = trimming(domain, text, (), TOKENS).apply(compile_at(domain, Options()).after)
    for depth in DEPTHS:
        path = paths[name_of(depth)] = work / f"depth-{depth}"
        if not path.exists():
            console.print(f"emitting {depth} decoder layers")
            shallow = replace(domain, base=student_of(domain.base, range(depth)))
            emit(shallow, emitter_of("ctranslate2"), _cut(trimmed, depth), path, "int8")
    if not (work / "tokenizer").exists():
        domain.write_tokenizer(work / "tokenizer")
    ids = {token: index for index, token in enumerate(domain.vocabulary.source)}
    encoded = [[*domain.tokenizer.tokenize(source), domain.vocabulary.end] for source in sources]
    speed = {}
    for condition in conditions({1: (8, 15), 32: (32, 9)}, (4, 1), (1,)):
        runs = {name: runner(load(path, 1), condition) for name, path in paths.items()}
        if (condition.batch, condition.beam) == (1, 4):
            runs[PYTORCH] = pytorch_runner(domain.base, ids, condition)
        speed[condition.label] = compare(runs, encoded, condition).report(BASELINE)
    return {
        "base_target_tokens": len(domain.model.target_tokens),
        "target_tokens": len(trimmed.target_tokens),
        "cells_kept": CELLS,
        "megabytes": {name: megabytes(path) for name, path in paths.items()},
        "speed": speed,
    }


def _cut(model: DomainModel, depth: int) -> DomainModel:
    """Random cells of the layers that are left, in widths for int8."""
    draw = np.random.default_rng(0)
    layers = []
    for layer in model.feed_forward:
        stack, _, index = layer.name.partition(".")
        if stack == "encoder" or int(index) < depth:
            kept = draw.choice(layer.width, max(1, round(CELLS * layer.width)), replace=False)
            layers.append(layer.select(np.sort(kept)))
    return PadWidth(16).apply(replace(model, feed_forward=tuple(layers)))[0]
