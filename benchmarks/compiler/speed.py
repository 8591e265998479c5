"""Speed of CTranslate2 models beside each other, in one process and in turn; tokenisation and loading excluded.

Every model writes the same number of tokens, so that a model is not faster because its translations are shorter.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2


@dataclass(frozen=True)
class Timing:
    """Seconds of every repeat over all `sentences`, in the order in which they were run, by model."""

    seconds: Mapping[str, Sequence[float]]
    sentences: int

    def ratios(self, name: str, baseline: str) -> list[float]:
        """Time relative to the baseline's in the same repeat, ascending."""
        pairs = zip(self.seconds[name], self.seconds[baseline], strict=True)
        return sorted(ours / theirs for ours, theirs in pairs)

    def report(self, baseline: str) -> dict[str, dict[str, object]]:
        """By model: median milliseconds per sentence, median ratio to the baseline with its extremes, raw samples."""
        return {
            name: {
                "ms_per_sentence": 1000 * statistics.median(seconds) / self.sentences,
                "time_relative": statistics.median(ratios := self.ratios(name, baseline)),
                "time_relative_range": [ratios[0], ratios[-1]],
                "seconds": list(seconds),
            }
            for name, seconds in self.seconds.items()
        }


def compare(
    models: Mapping[str, Path], sources: Sequence[Sequence[str]], *, batch: int, repeats: int, output_tokens: int
) -> Timing:
    """Translate all sources with every model in turn, `repeats` times after a warm-up: one thread, beam 4."""
    engines = {name: ctranslate2.Translator(str(path), device="cpu", intra_threads=1) for name, path in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for repeat in range(repeats + 1):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine.translate_batch(
                [list(source) for source in sources],
                max_batch_size=batch,
                beam_size=4,
                min_decoding_length=output_tokens,
                max_decoding_length=output_tokens,
            )
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return Timing(seconds, len(sources))
