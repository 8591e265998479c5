"""The depth of a student by trial: as shallow as the bound on quality allows, and what each depth is worth.

Deepest first: a shallower student loses more, so that the first one that loses more than the bound ends the search. Of
those that keep it, the fastest is published, by time measured here in turn with the learned model.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fmalloc.corpus import spread
from fmalloc.distillation.student import depth_of
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS
from fmalloc_export.builder import Built, build
from fmalloc_export.bundles.publish import CPU
from fmalloc_export.checks.quality import exceeds, losses
from fmalloc_export.compiler import compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.student import Student
from fmalloc_export.options import Options
from fmalloc_export.passes.text import CalibrationText, TextSplit
from fmalloc_export.students.students import Distillation, Lesson
from fmalloc_runtime.bundle.bundle import Quality
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.commands.progress import bar

Use = Literal["latency", "throughput"]
_DEPTHS = (4, 3, 2, 1)
_REPEATS = 3


@dataclass(frozen=True)
class Condition:
    """How a model is used: sentences per batch, beam, and how many sentences are timed."""

    batch: int
    beam: int
    sentences: int


CONDITIONS: Mapping[Use, Condition] = {"latency": Condition(1, 4, 16), "throughput": Condition(32, 4, 64)}


@dataclass(frozen=True)
class Point:
    """One depth of the frontier: its bundle, milliseconds per sentence, and speed in units of the learned model's."""

    depth: int
    built: Built
    milliseconds: float
    speed: float

    @property
    def quality(self) -> Quality:
        """On held-out pairs, which -O3 cannot do without."""
        found = self.built.bundle.manifest.quality
        assert found is not None
        return found

    @property
    def holds(self) -> bool:
        """Whether it keeps the bound on quality."""
        return not exceeds(self.quality)


@dataclass(frozen=True)
class DepthSearch:
    """Looks for the depth of one domain's student; `text` and `split` as export has them, `use` names the condition."""

    domain: Domain
    distillation: Distillation
    options: Options
    text: CalibrationText
    split: TextSplit
    use: Use

    @property
    def depths(self) -> tuple[int, ...]:
        """Those that are tried, deepest first."""
        return tuple(depth for depth in _DEPTHS if depth < depth_of(self.domain.base))

    def lesson(self, depth: int) -> Lesson:
        """Of the student of a depth."""
        settings = replace(self.distillation.settings, depth=depth)
        distillation = replace(self.distillation, settings=settings)
        return Lesson.of(self.domain, distillation, self.split.calibration, self.split.held_out)

    def frontier(self, work: Path) -> list[Point]:
        """Every depth that was tried, below the empty folder `work`. Students are kept in the store."""
        learned = self._learned(work)
        points: list[Point] = []
        for depth in self.depths:
            built = self._built(depth, work)
            points.append(self._point(depth, built, learned))
            if not points[-1].holds:
                break
        return points

    def _fits(self, learned: Translator, source: str) -> bool:
        return len(learned.encode(source)) <= learned.maximum_length

    def _learned(self, work: Path) -> Translator:
        """The learned model at -O0, in the same engine and type of weights."""
        self.domain.write_tokenizer(work / "tokenizer")
        options = Options(engine=self.options.engine, quantization=self.options.quantization)
        return compile_at(self.domain, options).run(work / "learned", options.quantization, work / "tokenizer")

    def _built(self, depth: int, work: Path) -> Built:
        student = Student.of(self.domain, self.lesson(depth).student())
        folder = work / f"depth-{depth}"
        folder.mkdir()
        # What loses too much is a point of the frontier too.
        options = replace(self.options, allow_quality_drop=True)
        with bar(f"{self.domain.name}, depth {depth}", None) as advance:
            return build(self.domain, options, self.text, student, folder, on_step=lambda step: advance(1, note=step))

    def _point(self, depth: int, built: Built, learned: Translator) -> Point:
        condition = CONDITIONS[self.use]
        fitting = [pair.source for pair in self.split.held_out if self._fits(learned, pair.source)]
        sources = spread(fitting, condition.sentences)
        runs = [learned, Translator.load(built.bundle, CPU)]
        of_learned, own = timed([_run(model, sources, condition) for model in runs])
        ratios = [before / after for before, after in zip(of_learned, own, strict=True)]
        return Point(depth, built, 1000 * statistics.median(own) / len(sources), statistics.median(ratios))


def fastest(points: Sequence[Point]) -> Point | None:
    """Of those that keep the bound; None if none does."""
    return min((point for point in points if point.holds), key=lambda point: point.milliseconds, default=None)


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


def _run(model: Translator, sources: Sequence[str], condition: Condition) -> Callable[[], object]:
    options = TranslationOptions(beam_size=condition.beam, max_length=MAXIMUM_NEW_TOKENS)
    batches = [sources[start : start + condition.batch] for start in range(0, len(sources), condition.batch)]
    return lambda: [model.translate(batch, options) for batch in batches]


def no_depth(points: Sequence[Point], options: Options) -> str:
    """Why nothing is published, and what would help."""
    deepest = points[0]
    return (
        f"the student of {deepest.depth} decoder layers loses {losses(deepest.quality)}: more than the bound of "
        f"{options.bound}, so nothing is published. What may help: more --updates or --minutes, --sources, `fmalloc "
        "shallow` first; -O2. --depth with --allow-quality-drop publishes a student all the same"
    )
