"""Texts to sentences, and translated sentences to texts again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fmalloc_runtime.engines.base import Hypothesis, TranslationOptions
from fmalloc_runtime.text.block import Block, plain_block
from fmalloc_runtime.text.markup import blocks_of
from fmalloc_runtime.text.segment import Segment, segments_of
from fmalloc_runtime.text.sentence import Document, Reading, Rendered, Renderer
from fmalloc_runtime.text.sentences import LINE_END
from fmalloc_runtime.text.translation import (
    SentenceTranslation,
    SourceBatch,
    TextModel,
    TextOptions,
    TextTranslation,
    Work,
)

# Tokens of a source that are never too many where the model has positions for them.
_SHORTEST_BOUND = 64


def plain_lines(texts: Sequence[str], options: TextOptions) -> list[str]:
    """The texts without markup, as lines: what routing scores."""
    return [line for text in texts for block in _blocks(text, options) for line in LINE_END.split(block.text)]


def translate_texts(texts: Sequence[str], options: TextOptions, model: TextModel) -> Work:
    """The work of translating each text; see Work.

    It asks for two batches at most: all sentences as they are, then those whose translations have lost or changed an
    item, without their items. Raises nothing, whatever the texts and the hypotheses are.
    """
    encoder = _Encoder(options, model)
    documents = [encoder.read(text) for text in texts]
    sentences = [sentence for document in documents for sentence in document.sentences]
    if sentences:
        found = yield encoder.batch([sentence.reading for sentence in sentences], options.search.attention)
        for sentence, hypotheses in zip(sentences, encoder.spread(found), strict=True):
            sentence.take(hypotheses, encoder)
    if again := [sentence for sentence in sentences if sentence.has_lost_items]:
        for sentence in again:
            sentence.reading = Reading(sentence.segment, bare=True)
        found = yield encoder.batch([sentence.reading for sentence in again], attention=True)
        for sentence, hypotheses in zip(again, encoder.spread(found), strict=True):
            sentence.take(hypotheses, encoder)
    return [document.translation(options.search.hypotheses) for document in documents]


def _blocks(text: str, options: TextOptions) -> list[Block]:
    return [plain_block(text)] if options.format == "text" else blocks_of(text, options)


class _Sentence:
    """A segment and the translations of it that are good, best first."""

    def __init__(self, reading: Reading, renderer: Renderer) -> None:
        self.segment = reading.segment
        self.reading = reading
        self.rendered: list[Rendered] = []
        self._renderer = renderer
        self._failed: list[bool] = []

    @property
    def has_lost_items(self) -> bool:
        """Whether another translation, without the items, would help."""
        return any(self._failed) and bool(self.segment.items) and not self.reading.bare

    def take(self, hypotheses: Sequence[Hypothesis], encoder: "_Encoder") -> None:
        """Keep of the hypotheses those that kept what they should have."""
        tokens = encoder.encode(self.reading.text)
        found = [self._renderer.render(self.reading, tokens, hypothesis) for hypothesis in hypotheses]
        if self._failed[:1] == [True]:
            self.rendered, found = [], [*found[:1], *self.rendered, *found[1:]]
        self._failed = [rendered is None for rendered in found]
        for rendered in found:
            if rendered is not None and all(rendered.written.raw != other.written.raw for other in self.rendered):
                self.rendered.append(rendered)


@dataclass
class _Document:
    document: Document
    sentences: list[_Sentence]

    def translation(self, hypotheses: int) -> TextTranslation:
        best, *others = (self._with(index) for index in range(hypotheses))
        done = [(sentence, sentence.rendered[0]) for sentence in self.sentences if sentence.rendered]
        return TextTranslation(
            best,
            tuple(others),
            tuple(
                SentenceTranslation(sentence.segment.text, first.written.shown, first.score, first.alignment)
                for sentence, first in done
            ),
        )

    def _with(self, index: int) -> str:
        """The text with hypothesis `index` of each sentence, or its last one."""
        pieces = []
        at = 0
        for sentence in self.sentences:
            segment, rendered = sentence.segment, sentence.rendered
            if rendered:
                written = rendered[min(index, len(rendered) - 1)].written
                pieces.extend([self.document.text[at : segment.begin], segment.lead, written.raw, segment.trail])
                at = segment.end
        return "".join(pieces) + self.document.text[at:]


class _Encoder:
    def __init__(self, options: TextOptions, model: TextModel) -> None:
        self._options = options
        self._model = model
        # Half of the model's positions, so that no translation is cut for being longer than its source.
        self._longest = max(model.maximum_length // 2, min(model.maximum_length, _SHORTEST_BOUND))
        self._tokens: dict[str, tuple[str, ...]] = {}
        self._order: list[tuple[str, ...]] = []

    def encode(self, text: str) -> tuple[str, ...]:
        """The tokens of a text, made once."""
        if text not in self._tokens:
            self._tokens[text] = tuple(self._model.encode(text))
        return self._tokens[text]

    def read(self, text: str) -> _Document:
        """The sentences of a text that are to be translated."""
        document = Document(
            text, self._options.format, "&nbsp;" if self._options.format == "html" and "&nbsp;" in text else "\u00a0"
        )
        renderer = Renderer(document, self._model, align=self._options.search.attention, protect=self._options.protect)
        language = self._model.source_language
        segments = [
            segment
            for block in _blocks(text, self._options)
            for segment in segments_of(block, text, language, self._options, self._fits)
        ]
        return _Document(document, [_Sentence(self._reading(segment), renderer) for segment in segments])

    def batch(self, readings: Sequence[Reading], attention: bool) -> SourceBatch:
        """What to ask of the model for these; equal sentences are asked once."""
        sources = [self.encode(reading.text) for reading in readings]
        attention = attention or any(reading.needs_attention for reading in readings)
        options: TranslationOptions = replace(self._options.search, attention=attention)
        self._order = sources
        return SourceBatch(tuple(dict.fromkeys(sources)), options)

    def spread(self, found: Sequence[tuple[Hypothesis, ...]]) -> list[tuple[Hypothesis, ...]]:
        """The hypotheses for all of those that `batch` was given."""
        by_source = dict(zip(dict.fromkeys(self._order), found, strict=True))
        return [by_source[source] for source in self._order]

    def _fits(self, segment: Segment) -> bool:
        return self._short(Reading(segment, bare=True))

    def _reading(self, segment: Segment) -> Reading:
        """With its items, or without them at once where that is too long."""
        whole = Reading(segment, bare=False)
        return whole if self._short(whole) else Reading(segment, bare=True)

    def _short(self, reading: Reading) -> bool:
        return len(self.encode(reading.text)) <= self._longest
