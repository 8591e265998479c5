"""The search for a student: how deep, with how many target tokens and cells, and how wide a beam.

Without a budget of time, depths are tried from the deepest on: a shallower student loses more, so that the first one
that loses more than the bound ends the search. With one, trials tell which depth the time is spent on (see budget.py).
Of the depths that keep the bound the fastest is compiled with fewer tokens and a narrower beam too, if they keep it;
what is fastest then, by time measured here in turn with the learned model, is published.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from fmalloc.corpus import spread
from fmalloc.distillation.distill import DistillationText
from fmalloc.distillation.settings import UNLIMITED, Limit
from fmalloc.distillation.student import depth_of
from fmalloc.store.distilled import Distilled
from fmalloc_export.builder import build
from fmalloc_export.bundles.publish import CPU
from fmalloc_export.checks.quality import QualityCheck
from fmalloc_export.compiler import compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.student import Student
from fmalloc_export.options import Options
from fmalloc_export.passes.text import CalibrationText, TextSplit
from fmalloc_export.students.budget import Budget, Round, Trial, promising, rounds
from fmalloc_export.students.choices import Choices, megabytes
from fmalloc_export.students.points import Point, Stopwatch, Use, fastest
from fmalloc_export.students.students import Distillation, Lesson
from fmalloc_runtime.bundle.bundle import MODEL_DIRECTORY
from fmalloc_runtime.engines.base import BEAM_SIZE
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.commands.progress import bar

_DEPTHS = (4, 3, 2, 1)
# Held-out pairs that a student is tried on.
_TRIED = 100


@dataclass
class _Building:
    """Where the search builds what, and how long a bundle took last."""

    work: Path
    stopwatch: Stopwatch
    seconds: float = 0.0
    bundles: int = 0

    def folder(self) -> Path:
        """A new one."""
        self.bundles += 1
        path = self.work / f"bundle-{self.bundles}"
        path.mkdir()
        return path


@dataclass(frozen=True)
class StudentSearch:
    """Looks for one domain's student; `text` and `split` as export has them, `use` names how models are timed.

    `minutes`: of the whole search; None: each student learns as `distillation` says.
    """

    domain: Domain
    distillation: Distillation
    options: Options
    text: CalibrationText
    split: TextSplit
    use: Use
    minutes: float | None = None
    _lessons: dict[int, Lesson] = field(default_factory=dict)

    @property
    def depths(self) -> tuple[int, ...]:
        """Those that are tried, deepest first."""
        return tuple(depth for depth in _DEPTHS if depth < depth_of(self.domain.base))

    def lesson(self, depth: int) -> Lesson:
        """Of the student of a depth."""
        if depth not in self._lessons:
            settings = replace(self.distillation.settings, depth=depth)
            if self.minutes is not None:
                settings = replace(settings, minutes=Budget.of(self.minutes, len(self.depths)).each)
            distillation = replace(self.distillation, settings=settings)
            lesson = Lesson.of(self.domain, distillation, self.split.calibration, self.split.held_out)
            self._lessons[depth] = lesson
        return self._lessons[depth]

    def explain(self) -> Iterator[str]:
        """What would be done."""
        kept = [depth for depth in self.depths if self.lesson(depth).kept()]
        if self.minutes is None or kept:
            yield from (self.lesson(depth).explain() for depth in kept or self.depths)
        else:
            shown = ", ".join(map(str, self.depths))
            yield f"would look among students of {shown} decoder layers, {self._budget().explain()}"
            yield self.lesson(self.depths[0]).explain()
        if self.minutes is None:
            yield f"the first that loses more than {self.options.bound} BLEU or chrF ends the search for the fastest"
        yield "then fewer target tokens and narrower beams are tried on the fastest, as long as they keep the bound"

    def frontier(self, work: Path) -> list[Point]:
        """All that was tried, below the empty folder `work`. Students are kept in the store."""
        budget = None if self.minutes is None else self._budget()
        self.domain.write_tokenizer(work / "tokenizer")
        options = Options(engine=self.options.engine, quantization=self.options.quantization)
        learned = compile_at(self.domain, options).run(work / "learned", options.quantization, work / "tokenizer")
        building = _Building(work, Stopwatch.of(learned, self.split.held_out, self.use))
        points = self._deepest_first(building) if budget is None else self._tried_first(budget, building)
        if best := fastest(points):
            points += self._chosen(best, building, UNLIMITED if budget is None else budget.whole)
        return points

    def _budget(self) -> Budget:
        assert self.minutes is not None
        return Budget.of(self.minutes, len(self.depths))

    def _deepest_first(self, building: _Building) -> list[Point]:
        points: list[Point] = []
        for depth in self.depths:
            points.append(self._built(depth, self._student(depth), self.options, building))
            if not points[-1].holds:
                break
        return points

    def _tried_first(self, budget: Budget, building: _Building) -> list[Point]:
        """Trials, and the bundle of the depth that they end with, or of one whose student is there already."""
        points: list[Point] = []
        depths = [depth for depth in self.depths if self.lesson(depth).kept()]
        text: DistillationText | None = None
        if not depths:
            depths, text = list(self.depths), self.lesson(self.depths[0]).translated(budget.translating)
            for one, following in pairwise(rounds(len(depths))):
                tried = [self._trial(depth, one, budget, text, building) for depth in depths]
                points += [trial.point for trial in tried]
                assert self.options.bound is not None
                chosen = promising(tried, self.options.bound, following.depths)
                depths = [trial.point.depth for trial in chosen]
        made = self._student(depths[0], budget.learning, text)
        for depth in self.depths:
            self.lesson(depth).forget()
        return [*points, self._built(depths[0], made, self.options, building)]

    def _student(self, depth: int, limit: Limit = UNLIMITED, text: DistillationText | None = None) -> Student:
        return Student.of(self.domain, self.lesson(depth).student(limit, text))

    def _trial(self, depth: int, one: Round, budget: Budget, text: DistillationText, building: _Building) -> Trial:
        """Let a student learn for its part of a round, and emit it with all of its cells and target tokens."""
        found = self.lesson(depth).student(budget.trial(one), text)
        options, learned = Options(self.options.engine, self.options.quantization), building.stopwatch.learned
        compiled = compile_at(Student.of(self.domain, found), options)
        folder = building.folder() / "tried"
        model = compiled.run(folder, options.quantization, building.work / "tokenizer")
        check, timed = self._tried_on(learned), building.stopwatch.time(model)
        point = Point(
            depth=depth,
            cells=sum(compiled.after.widths.values()),
            target_tokens=len(compiled.after.target_tokens),
            vocabulary=None,
            beam_size=BEAM_SIZE,
            megabytes=megabytes(folder / MODEL_DIRECTORY),
            milliseconds=timed.milliseconds,
            speed=timed.speed,
            quality=check.compare(check.translated(model), self.options.bound),
            note=f"trial, {found.record.updates} updates",
        )
        return Trial(point, _distance(found), one.share)

    def _tried_on(self, learned: Translator) -> QualityCheck:
        fitting = [pair for pair in self.split.held_out if len(learned.encode(pair.source)) <= learned.maximum_length]
        return QualityCheck.of(spread(fitting, _TRIED), learned)

    def _built(self, depth: int, student: Student, options: Options, building: _Building) -> Point:
        begun = time.monotonic()
        # What loses too much is a point of the frontier too.
        allowed = replace(options, allow_quality_drop=True)
        with bar(f"{self.domain.name}, depth {depth}", None) as advance:
            built = build(
                self.domain,
                allowed,
                self.text,
                student,
                building.folder(),
                on_step=lambda step: advance(1, note=step),
            )
        building.seconds = time.monotonic() - begun
        return Point.of(depth, built, options.vocabulary, building.stopwatch.time(Translator.load(built.bundle, CPU)))

    def _chosen(self, best: Point, building: _Building, limit: Limit) -> list[Point]:
        """What was tried of the vocabulary and the beam, and the bundle of the fastest that keeps the bound."""
        assert best.built and best.built.check
        choices = Choices(
            self._student(best.depth),
            best.depth,
            self.options,
            self.split.calibration,
            best.built.check,
            building.stopwatch,
            building.work / "tokenizer",
        )
        points = list(choices.points(building.folder(), limit))
        for point in sorted((point for point in points if point.holds), key=lambda point: point.milliseconds):
            same = (point.vocabulary, point.beam_size) == (best.vocabulary, best.beam_size)
            if same or time.monotonic() + building.seconds > limit.deadline:
                break
            points.append(self._built(best.depth, choices.student, choices.chosen(point), building))
            if points[-1].holds:
                break
        return points


def _distance(found: Distilled) -> float:
    return min(point.nll for point in found.record.curve) - found.record.teacher_nll
