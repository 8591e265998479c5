"""Translates the texts of several requests together, with one model."""

from collections.abc import Sequence
from dataclasses import dataclass

from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.pipeline import work_on
from fmalloc_runtime.text.translation import Found, SourceBatch, TextOptions, TextTranslation, Work, advance
from fmalloc_shared.errors import FmallocError


@dataclass(frozen=True)
class Request:
    """The texts of one request and how to translate them."""

    texts: tuple[str, ...]
    options: TextOptions


class _Course:
    """A request in progress: `step` is the batch to translate next, or the answer."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.step: SourceBatch | list[TextTranslation] | FmallocError = []
        self.advance()

    def advance(self, found: Found | None = None) -> None:
        try:
            self.step = advance(self._work, found)
        except FmallocError as error:
            self.step = error


def translate_together(
    translator: Translator, requests: Sequence[Request]
) -> list[list[TextTranslation] | FmallocError]:
    """The translations of each request's texts, or its error; one request's error does not affect another."""
    courses = [_Course(work_on(request.texts, request.options, translator)) for request in requests]
    while waiting := [(course, course.step) for course in courses if isinstance(course.step, SourceBatch)]:
        kind = _kind(waiting[0][1])
        _translate(translator, [(course, batch) for course, batch in waiting if _kind(batch) == kind])
    return [course.step for course in courses if not isinstance(course.step, SourceBatch)]


def _kind(batch: SourceBatch) -> tuple[TranslationOptions, bool]:
    """What batches that are joined have in common."""
    return batch.options, bool(batch.targets)


def _translate(translator: Translator, group: Sequence[tuple[_Course, SourceBatch]]) -> None:
    """Take one step with each course of a group whose batches are of one kind."""
    sources = tuple(source for _, batch in group for source in batch.sources)
    targets = tuple(target for _, batch in group for target in batch.targets)
    try:
        found = translator.search(SourceBatch(sources, group[0][1].options, targets))
    except FmallocError as error:
        if len(group) == 1:
            group[0][0].step = error
            return
        for pair in group:  # retry individually to isolate the failing request
            _translate(translator, [pair])
        return
    begin = 0
    for course, batch in group:
        end = begin + len(batch.sources)
        course.advance(found[begin:end])
        begin = end
