"""Speed of a compiled domain against the same domain with every cell of its base left in."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np

from fmalloc.models import load_dense
from fmalloc.store import Store
from fmalloc_export import pipeline
from fmalloc_export.build import domain_model
from fmalloc_export.ctranslate2 import emit
from fmalloc_export.vocabulary import vocabulary_of
from fmalloc_runtime.tokenizer import Tokenizer

REPEATS = 9
OUTPUT_TOKENS = 12


@dataclass(frozen=True)
class SpeedRatio:
    """Time of the unsliced model over that of the sliced one: above 1, slicing is faster."""

    median: float
    lowest: float
    highest: float


def emit_unsliced(store: Store, domain: str, directory: Path) -> Path:
    """Write the domain's CTranslate2 model with all cells of every layer switched on."""
    base, tokenizer = load_dense(store, domain)
    everything = {layer.name: np.ones(layer.width, dtype=np.bool_) for layer in store.description.layers}
    model, _ = pipeline.run(domain_model(domain, base, everything), pipeline.passes("float32"))
    directory.mkdir()
    emit(base, tokenizer, vocabulary_of(base, tokenizer), model, directory, "float32")
    return directory


def speed_ratio(bundle: Path, unsliced: Path, lines: Sequence[str]) -> SpeedRatio:
    """Translate the lines with both models in turn: one thread, beam 4, the same number of output tokens."""
    tokenizer = Tokenizer.load(bundle / "tokenizer")
    sources = [tokenizer.encode(line) for line in lines]
    models = [ctranslate2.Translator(str(path), device="cpu", intra_threads=1) for path in (unsliced, bundle / "model")]
    for model in models:
        _seconds(model, sources)
    times = [[_seconds(model, sources) for model in models] for _ in range(REPEATS)]
    ratios = [whole / sliced for whole, sliced in times]
    return SpeedRatio(statistics.median(ratios), min(ratios), max(ratios))


def _seconds(model: ctranslate2.Translator, sources: list[list[str]]) -> float:
    start = time.perf_counter()
    model.translate_batch(
        sources, beam_size=4, min_decoding_length=OUTPUT_TOKENS, max_decoding_length=OUTPUT_TOKENS, max_batch_size=8
    )
    return time.perf_counter() - start
