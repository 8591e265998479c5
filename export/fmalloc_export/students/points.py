"""Points of a search's frontier: what a model of a domain is worth, and how fast it is on this machine."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fmalloc.corpus import Pair, spread
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS
from fmalloc_export.builder import Built
from fmalloc_export.checks.quality import exceeds, losses
from fmalloc_export.options import Options
from fmalloc_runtime.bundle.bundle import Quality
from fmalloc_runtime.engines.base import BEAM_SIZE, TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.errors import FmallocError

Use = Literal["latency", "throughput"]
_REPEATS = 3


@dataclass(frozen=True)
class Condition:
    """How a model is used: sentences per batch, and how many sentences are timed."""

    batch: int
    sentences: int


CONDITIONS: Mapping[Use, Condition] = {"latency": Condition(1, 16), "throughput": Condition(32, 64)}


@dataclass(frozen=True)
class Point:
    """One model of the frontier as it was measured; `speed` in units of the learned model's, which has beam 4.

    `vocabulary`: the most target tokens that were asked for, None for all that the domain uses. `built`: its bundle;
    None of what was only tried, as `note` says.
    """

    depth: int
    cells: int
    target_tokens: int
    vocabulary: int | None
    beam_size: int
    megabytes: float
    milliseconds: float
    speed: float
    quality: Quality
    built: Built | None = None
    note: str = ""

    @classmethod
    def of(cls, depth: int, built: Built, vocabulary: int | None, timed: "Timed") -> "Point":
        """Of a bundle, whose quality -O3 cannot do without."""
        manifest, size = built.bundle.manifest, built.size_rows[-1]
        assert manifest.quality is not None
        beam_size = manifest.beam_size or BEAM_SIZE
        figures = (size.cells, size.target_tokens, vocabulary, beam_size, size.megabytes)
        return cls(depth, *figures, timed.milliseconds, timed.speed, manifest.quality, built)

    @property
    def holds(self) -> bool:
        """Whether it keeps the bound on quality."""
        return not exceeds(self.quality)


@dataclass(frozen=True)
class Timed:
    """Milliseconds per sentence, and how many times as fast as the learned model."""

    milliseconds: float
    speed: float


@dataclass(frozen=True)
class Stopwatch:
    """Times models in turn with the learned one, on the same sentences."""

    learned: Translator
    condition: Condition
    sources: Sequence[str]

    @classmethod
    def of(cls, learned: Translator, held_out: Sequence[Pair], use: Use) -> "Stopwatch":
        """On held-out sources that the model has positions for; FmallocError if there are none."""
        fitting = [pair.source for pair in held_out if len(learned.encode(pair.source)) <= learned.maximum_length]
        if not fitting:
            longest = learned.maximum_length
            raise FmallocError(f"held-out text: none of {len(held_out)} sources fits into {longest} tokens")
        return cls(learned, CONDITIONS[use], spread(fitting, CONDITIONS[use].sentences))

    def time(self, model: Translator, beam_size: int | None = None) -> Timed:
        """`beam_size` None: the model's own."""
        before, own = timed([self._run(self.learned, None), self._run(model, beam_size)])
        ratios = [one / other for one, other in zip(before, own, strict=True)]
        return Timed(1000 * statistics.median(own) / len(self.sources), statistics.median(ratios))

    def _run(self, model: Translator, beam_size: int | None) -> Callable[[], object]:
        options, size = TranslationOptions(beam_size, MAXIMUM_NEW_TOKENS), self.condition.batch
        batches = [self.sources[start : start + size] for start in range(0, len(self.sources), size)]
        return lambda: [model.translate(batch, options) for batch in batches]


def timed(runs: Sequence[Callable[[], object]]) -> list[list[float]]:
    """Seconds of each run, three times in turn, after one to warm up."""
    seconds: list[list[float]] = [[] for _ in runs]
    for repeat in range(_REPEATS + 1):
        for run, found in zip(runs, seconds, strict=True):
            begun = time.perf_counter()
            run()
            if repeat:
                found.append(time.perf_counter() - begun)
    return seconds


def fastest(points: Sequence[Point]) -> Point | None:
    """Of the bundles that keep the bound; None if none does."""
    holding = [point for point in points if point.built and point.holds]
    return min(holding, key=lambda point: point.milliseconds, default=None)


def no_depth(points: Sequence[Point], options: Options) -> str:
    """Why nothing is published, and what would help."""
    deepest = next(point for point in points if point.built)
    return (
        f"the student of {deepest.depth} decoder layers loses {losses(deepest.quality)}: more than the bound of "
        f"{options.bound}, so nothing is published. What may help: more --updates, --minutes or --budget, --sources, "
        "`fmalloc shallow` first; -O2. --depth with --allow-quality-drop publishes a student all the same"
    )
