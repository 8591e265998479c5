"""Speed of translation models in one process: interleaved repeats, tokenisation and loading excluded."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmalloc.architectures import feed_forward_layers, load_base
from fmalloc_export import ctranslate2
from fmalloc_export.build import domain_model
from fmalloc_export.vocabulary import vocabulary_of
from fmalloc_runtime.engine import Engine, TranslationOptions


@dataclass(frozen=True)
class Timing:
    """Seconds of every repeat over all sources, in the order in which they were run, by model."""

    seconds: Mapping[str, Sequence[float]]
    sentences: int

    def milliseconds(self, name: str) -> float:
        """Median milliseconds a sentence."""
        return 1000 * statistics.median(self.seconds[name]) / self.sentences

    def ratio(self, name: str, baseline: str) -> float:
        """Median over the repeats of the time relative to the baseline's in the same repeat."""
        pairs = zip(self.seconds[name], self.seconds[baseline], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def report(self, baseline: str) -> dict[str, object]:
        """Medians, ratios to the baseline with their extremes, and the raw samples."""
        rows: dict[str, object] = {}
        for name, seconds in self.seconds.items():
            ratios = [ours / theirs for ours, theirs in zip(seconds, self.seconds[baseline], strict=True)]
            rows[name] = {
                "ms_per_sentence": self.milliseconds(name),
                "time_relative": self.ratio(name, baseline),
                "time_relative_range": [min(ratios), max(ratios)],
                "seconds": list(seconds),
            }
        return rows


def compare(
    engines: Mapping[str, Engine], sources: Sequence[Sequence[str]], *, batch: int, repeats: int, beam_size: int = 4
) -> Timing:
    """Translate all sources with every engine in turn, `repeats` times over, after one warm-up each."""
    options = TranslationOptions(beam_size=beam_size)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for repeat in range(repeats + 1):
        for name, engine in engines.items():
            started = time.perf_counter()
            for start in range(0, len(sources), batch):
                engine.translate(sources[start : start + batch], (), options)
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return Timing(seconds, len(sources))


def emit_unsliced(base: Path, directory: Path, quantization: str) -> None:
    """The base as a general converter would emit it: every cell of every layer."""
    model, tokenizer = load_base(base)
    ones = {layer.name: np.ones(layer.width, dtype=np.bool_) for layer in feed_forward_layers(model)}
    directory.mkdir(parents=True)
    whole = domain_model("general", model, ones)
    ctranslate2.emit(model, tokenizer, vocabulary_of(model, tokenizer), whole, directory, quantization)
