"""Target vocabulary and beam of a student: as few tokens and as narrow a beam as the bound on quality allows.

Both are tried on models with all of the student's cells, which take seconds to emit. Fewer tokens lose more, and so
does a narrower beam: so a smaller vocabulary is tried from that beam on which the larger one needed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from fmalloc.corpus import Pair
from fmalloc.distillation.settings import Limit
from fmalloc_export.checks.quality import QualityCheck
from fmalloc_export.compiler import Compiled
from fmalloc_export.domain.student import Student
from fmalloc_export.emit.emitter import emitter_of
from fmalloc_export.options import Options
from fmalloc_export.passes import pipeline
from fmalloc_export.passes.bake_mask import BakeMask
from fmalloc_export.passes.vocabulary_use import trimming
from fmalloc_export.students.points import Point, Stopwatch
from fmalloc_runtime.bundle.bundle import MODEL_DIRECTORY
from fmalloc_runtime.engines.base import BEAM_SIZE
from fmalloc_runtime.live.translator import Translator

# Target tokens that are tried, where the domain uses more.
VOCABULARIES = (16_000, 8_000, 4_000)
_BEAMS = (1, 2, BEAM_SIZE)
_M = TypeVar("_M")


@dataclass(frozen=True)
class Emitted:
    """A student with all of its cells; `vocabulary`: the most target tokens that were asked for."""

    vocabulary: int | None
    model: Translator
    cells: int
    target_tokens: int
    megabytes: float


@dataclass(frozen=True)
class Choices:
    """What can be chosen of a student of `depth` decoder layers; what `options` name is not chosen.

    `calibration`: text that tells the tokens in use; `tokenizer`: its written files.
    """

    student: Student
    depth: int
    options: Options
    calibration: tuple[Pair, ...]
    check: QualityCheck
    stopwatch: Stopwatch
    tokenizer: Path

    @property
    def beams(self) -> tuple[int, ...]:
        """Narrowest first."""
        return _BEAMS if self.options.beam_size is None else (self.options.beam_size,)

    def points(self, work: Path, limit: Limit) -> Iterator[Point]:
        """What is tried, in the empty folder `work`, until no beam is wide enough, or the time is up."""
        return staircase(self._models(work, limit), self.beams, self._point)

    def chosen(self, point: Point) -> Options:
        """The options that compile what was tried."""
        named = self.options.beam_size is not None or point.beam_size != BEAM_SIZE
        return replace(self.options, vocabulary=point.vocabulary, beam_size=point.beam_size if named else None)

    def _models(self, work: Path, limit: Limit) -> Iterator["Emitted"]:
        """Largest vocabulary first; where a limit changes nothing, there is no other model."""
        before = 0
        for vocabulary in (self.options.vocabulary,) if self.options.vocabulary else (None, *VOCABULARIES):
            if limit.passed():
                return
            emitted = self._emitted(vocabulary, work)
            if emitted.target_tokens != before:
                yield emitted
            before = emitted.target_tokens

    def _emitted(self, vocabulary: int | None, work: Path) -> Emitted:
        options, student = self.options, self.student
        trimmed = trimming(student, self.calibration, (), vocabulary)
        steps = pipeline.run(student.model, (BakeMask(), trimmed, pipeline.pad_width(options.quantization)))
        compiled = Compiled(student, emitter_of(options.engine), steps)
        folder = work / f"vocabulary-{vocabulary or 'whole'}"
        model = compiled.run(folder, options.quantization, self.tokenizer)
        size = megabytes(folder / MODEL_DIRECTORY)
        return Emitted(vocabulary, model, sum(compiled.after.widths.values()), len(compiled.after.target_tokens), size)

    def _point(self, emitted: Emitted, beam_size: int) -> Point:
        quality = self.check.compare(self.check.translated(emitted.model, beam_size), self.options.bound)
        timed = self.stopwatch.time(emitted.model, beam_size)
        return Point(
            depth=self.depth,
            cells=emitted.cells,
            target_tokens=emitted.target_tokens,
            vocabulary=emitted.vocabulary,
            beam_size=beam_size,
            megabytes=emitted.megabytes,
            milliseconds=timed.milliseconds,
            speed=timed.speed,
            quality=quality,
            note="tried, all cells",
        )


def staircase(models: Iterable[_M], beams: Sequence[int], measured: Callable[[_M, int], Point]) -> Iterator[Point]:
    """What is measured of models, the best first, with beams, the narrowest first.

    A model begins with the beam that the one before it needed; what is left ends once the widest is too narrow.
    """
    left = list(beams)
    for model in models:
        while left:
            yield (point := measured(model, left[0]))
            if point.holds:
                break
            left.pop(0)
        if not left:
            return


def megabytes(folder: Path) -> float:
    """Of all files in a folder, in millions of bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
