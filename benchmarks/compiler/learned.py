"""Quality of the compiler's levels on a store that `make real` learned."""

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.common import megabytes, once
from fmalloc.corpus import Corpus, read_corpus
from fmalloc.evaluation.evaluate import score
from fmalloc.store.store import Store
from fmalloc_export.bundles.publish import writing
from fmalloc_export.domain.domain import Domain
from fmalloc_export.options import Level, Options
from fmalloc_export.passes.text import CalibrationText
from fmalloc_export.publication import export_domain
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_shared.commands.progress import console
from fmalloc_shared.languages import LanguagePair

_LANGUAGES = LanguagePair("de", "en")
_TEST_LINES = 400
# Students are measured by benchmarks.compiler.distil.
_LEVELS: tuple[Level, ...] = ("O0", "O1", "O2")


def measure_real(store: Store, corpora: Path, work: Path) -> dict[str, Any]:
    """BLEU on test sets, and sizes, of every level of a learned store's tasks."""
    found = {}
    for task in store.tasks():
        corpus = read_corpus(corpora / task.name, _LANGUAGES)
        kept = work / f"{task.name}.json"
        found[task.name] = once(kept, partial(measure_task, Domain.load(store, task.name), corpus, work))
    return found


def measure_task(domain: Domain, corpus: Corpus, work: Path) -> dict[str, Any]:
    """All bundles of a task; -O2 has the share of cells that its int8 CTranslate2 model finds good enough."""
    rows = {}
    test = corpus.test[:_TEST_LINES]
    keep = None
    for level in reversed(_LEVELS):
        for engine, quantization in product(("ctranslate2", "onnx"), ("int8", "float32")):
            name = f"{level}, {engine} {quantization}"
            bundles = work / f"{domain.name}-{engine}-{level}-{quantization}"
            # What loses more than the bound is a finding too.
            lossy = level != "O0"
            options = Options(engine, quantization, level, keep if level == "O2" else None, allow_quality_drop=lossy)
            with writing(bundles):
                text = CalibrationText(tuple(corpus.train), corpus.dev) if lossy else None
                done = export_domain(domain, bundles, options, text, live=False)
            manifest = done.manifest
            keep = manifest.keep or keep
            translator = Translator.load(Bundle.open(done.path), EngineSettings("cpu", intra_threads=1))
            translated = translator.translate([pair.source for pair in test], TranslationOptions(max_length=256))
            metrics = score([line.text for line in translated], [pair.target for pair in test]).score
            rows[name] = {
                "bleu": metrics.bleu,
                "chrf": metrics.chrf,
                "keep": manifest.keep,
                "cells": sum(manifest.widths.values()),
                "target_tokens": manifest.target_tokens,
                "megabytes": megabytes(done.path / "model"),
                "dev": manifest.quality.model_dump() if manifest.quality else None,
                "parity": manifest.parity.model_dump(),
                "passes": [step.model_dump() for step in manifest.passes],
                "folder": str(done.path.relative_to(work)),
            }
            console.print(f"{domain.name}, {name}: {metrics} {manifest.keep}")
    return {"test_lines": len(test), "models": rows}
