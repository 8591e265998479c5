"""A model's answers as a test wants them: real tokens of a real tokenizer, with or without attention."""

from collections.abc import Mapping, Sequence

import numpy as np

from fmalloc_runtime.engines.base import Hypothesis
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.pipeline import work_on
from fmalloc_runtime.text.translation import Found, SourceBatch, TextOptions, TextTranslation, drive
from fmalloc_runtime.text.words import words

# What each source becomes, best first: text, and its words' numbers of source words (None: the model has no attention).
Answer = tuple[str, Sequence[int] | None]
Answers = Mapping[str, str | Answer | Sequence[Answer]]


def translate(
    text: str,
    answers: Answers,
    model: Translator,
    options: TextOptions | None = None,
    batches: list[SourceBatch] | None = None,
    scores: Sequence[float] = (),
) -> TextTranslation:
    """The text translated by a model that says `answers`, by what it reads; it must not read anything else.

    `scores`: of the translations that it is asked to score.
    """

    def answer(batch: SourceBatch) -> Found:
        if batches is not None:
            batches.append(batch)
        if batch.targets:
            wanted = scores or [-1.0] * len(batch.targets)
            return [(Hypothesis(target, score),) for target, score in zip(batch.targets, wanted, strict=True)]
        return [_hypotheses(source, answers, model, batch) for source in batch.sources]

    (translation,) = drive(work_on([text], options or TextOptions(), model), answer)
    return translation


def _hypotheses(
    source: Sequence[str], answers: Answers, model: Translator, batch: SourceBatch
) -> tuple[Hypothesis, ...]:
    read = model.decode(source)
    answer = answers[read]
    found = [(answer, None)] if isinstance(answer, str) else answer
    listed = [found] if isinstance(found[0], str) else found
    return tuple(_hypothesis(read, source, item, model, batch) for item in listed)  # type: ignore[arg-type]


def _hypothesis(read: str, source: Sequence[str], answer: Answer, model: Translator, batch: SourceBatch) -> Hypothesis:
    text, links = answer
    tokens = tuple(model.encode(text)[:-1])
    if links is None or not batch.options.attention:
        return Hypothesis(tokens, -0.5)
    said, heard = words(text), words(read)
    assert len(links) == len(said), (said, links)
    targets, sources = model.tokenizer.target_spans(text, tokens), model.tokenizer.source_spans(read, source)
    attention = np.full((len(tokens), len(source)), 0.01, dtype=np.float32)
    for row, (begin, end) in enumerate(targets):
        word = next((number for number, span in enumerate(said) if span[0] < end and begin < span[1]), None)
        first, last = (0, 0) if word is None else heard[links[word]]
        for column, (start, stop) in enumerate(sources):
            attention[row, column] += start < last and first < stop
    return Hypothesis(tokens, -0.5, attention / attention.sum(axis=1, keepdims=True))
