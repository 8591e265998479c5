"""Texts of several requests, translated together by one model."""

from collections.abc import Sequence
from dataclasses import dataclass

from fmalloc_runtime.engines.base import Hypothesis, translate_exactly
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.pipeline import translate_texts
from fmalloc_runtime.text.translation import SourceBatch, TextOptions, TextTranslation, Work
from fmalloc_shared.errors import FmallocError

Found = list[tuple[Hypothesis, ...]]


@dataclass(frozen=True)
class Request:
    """The texts of one request and how they are to be translated."""

    texts: tuple[str, ...]
    options: TextOptions


class _Course:
    """A request on its way: `wanted` is to be translated next, `answer` is there when nothing is."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.wanted: SourceBatch | None = None
        self.answer: list[TextTranslation] | FmallocError = []
        self.advance(None)

    def advance(self, found: Found | None) -> None:
        try:
            self.wanted = next(self._work) if found is None else self._work.send(found)
        except StopIteration as done:
            self.wanted, self.answer = None, done.value
        except FmallocError as error:
            self.fail(error)

    def fail(self, error: FmallocError) -> None:
        self.wanted, self.answer = None, error


def translate_together(
    translator: Translator, requests: Sequence[Request]
) -> list[list[TextTranslation] | FmallocError]:
    """What each request's texts translate to, or why they cannot be; one request's error is not another's."""
    courses = [_Course(translate_texts(request.texts, request.options, translator)) for request in requests]
    while waiting := [course for course in courses if course.wanted is not None]:
        first = waiting[0].wanted
        assert first is not None
        group = [course for course in waiting if course.wanted and course.wanted.options == first.options]
        _translate(translator, group)
    return [course.answer for course in courses]


def _translate(translator: Translator, group: Sequence[_Course]) -> None:
    """Take a step with each of a group that wants the same options."""
    batches = [course.wanted for course in group if course.wanted is not None]
    merged = SourceBatch(tuple(source for batch in batches for source in batch.sources), batches[0].options)
    try:
        found = _search(translator, merged)
    except FmallocError as error:
        if len(group) == 1:
            group[0].fail(error)
            return
        for course in group:  # one of them is to blame, the others shall not suffer
            _translate(translator, [course])
        return
    begin = 0
    for course, batch in zip(group, batches, strict=True):
        end = begin + len(batch.sources)
        course.advance(found[begin:end])
        begin = end


def _search(translator: Translator, batch: SourceBatch) -> Found:
    return translate_exactly(translator.engine, batch.sources, translator.tokenizer.target_prefix, batch.options)
