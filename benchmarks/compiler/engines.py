"""Engines beside each other: the same sentences, in turn, one batch size and one beam size at a time."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fmalloc_runtime.engines.base import Engine, TranslationOptions
from fmalloc_runtime.engines.ctranslate2 import CTranslate2Engine
from fmalloc_runtime.engines.onnx import OnnxEngine

BASELINE = "base, ctranslate2 int8"
OUTPUT_TOKENS = 20
_MAXIMUM_LENGTH = 512

# Translates tokens of one batch and returns the number of target tokens.
Run = Callable[[Sequence[Sequence[str]]], int]


@dataclass(frozen=True)
class Condition:
    """How models are run."""

    batch: int
    beam: int
    threads: int
    sentences: int
    repeats: int
    output_tokens: int

    @property
    def label(self) -> str:
        """For tables and keys."""
        return f"batch {self.batch}, beam {self.beam}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def conditions(
    batches: Mapping[int, tuple[int, int]], beams: Sequence[int], threads: Sequence[int]
) -> tuple[Condition, ...]:
    """`batches`: batch size to number of sentences and of repeats."""
    return tuple(
        Condition(batch, beam, thread, sentences, repeats, OUTPUT_TOKENS)
        for thread in threads
        for batch, (sentences, repeats) in batches.items()
        for beam in beams
    )


def load(directory: Path, threads: int) -> Engine:
    """The engine whose files lie in `directory`, on the CPU."""
    kind = CTranslate2Engine if (directory / "model.bin").exists() else OnnxEngine
    return kind(directory, "cpu", intra_threads=threads, maximum_length=_MAXIMUM_LENGTH)


def runner(engine: Engine, condition: Condition) -> Run:
    """Translate with an engine; the length is the same for all models."""
    options = TranslationOptions(beam_size=condition.beam, max_length=condition.output_tokens)

    def run(sources: Sequence[Sequence[str]]) -> int:
        return sum(len(best.tokens) for best, *_ in engine.translate(sources, (), options))

    return run


def pytorch_runner(model: Any, vocabulary: Mapping[str, int], condition: Condition) -> Run:
    """Translate with transformers' own search."""

    def run(sources: Sequence[Sequence[str]]) -> int:
        longest = max(map(len, sources))
        pad = model.config.pad_token_id
        known = [[vocabulary.get(token, vocabulary["<unk>"]) for token in source] for source in sources]
        ids = torch.tensor([[*source, *[pad] * (longest - len(source))] for source in known])
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids,
                attention_mask=(ids != pad).long(),
                num_beams=condition.beam,
                do_sample=False,
                early_stopping=True if condition.beam > 1 else None,
                max_new_tokens=condition.output_tokens,
            )
        return int((output[:, 1:] != pad).sum())

    return run


@dataclass(frozen=True)
class Timing:
    """Seconds of every repeat, in the order in which they were run, and target tokens of one."""

    condition: Condition
    seconds: Mapping[str, Sequence[float]]
    tokens: Mapping[str, int]

    def ratios(self, name: str, baseline: str) -> list[float]:
        """Time relative to the baseline's in the same repeat, ascending."""
        return sorted(a / b for a, b in zip(self.seconds[name], self.seconds[baseline], strict=True))

    def report(self, baseline: str) -> dict[str, Any]:
        """By model: milliseconds per sentence, sentences and target tokens per second, time in units of `baseline`."""
        rows = {}
        for name, seconds in self.seconds.items():
            middle, ratios = statistics.median(seconds), self.ratios(name, baseline)
            rows[name] = {
                "ms_per_sentence": 1000 * middle / self.condition.sentences,
                "sentences_per_second": self.condition.sentences / middle,
                "target_tokens_per_second": self.tokens[name] / middle,
                "time_relative": statistics.median(ratios),
                "time_relative_range": [ratios[0], ratios[-1]],
                "seconds": list(seconds),
            }
        return rows


def compare(runs: Mapping[str, Run], sources: Sequence[Sequence[str]], condition: Condition) -> Timing:
    """Let every model translate all sources in turn, after a warm-up of one batch."""
    torch.set_num_threads(condition.threads)
    chosen = sources[: condition.sentences]
    batches = [chosen[start : start + condition.batch] for start in range(0, len(chosen), condition.batch)]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    tokens = {}
    for run in runs.values():
        run(batches[0])
    for _ in range(condition.repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            tokens[name] = sum(run(batch) for batch in batches)
            seconds[name].append(time.perf_counter() - started)
    return Timing(condition, seconds, tokens)
