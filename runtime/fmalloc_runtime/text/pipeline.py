"""Texts to sentences, and translated sentences to texts again."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from fmalloc_runtime.engines.base import Hypothesis
from fmalloc_runtime.text.document.block import Block, plain_block
from fmalloc_runtime.text.document.markup import blocks_of
from fmalloc_runtime.text.document.reading import Reading
from fmalloc_runtime.text.document.segment import Segment, segments_of
from fmalloc_runtime.text.document.sentences import LINE_END
from fmalloc_runtime.text.rendering.renderer import Document, Rendered, Renderer
from fmalloc_runtime.text.translation import (
    Found,
    SentenceTranslation,
    SourceBatch,
    TextModel,
    TextOptions,
    TextTranslation,
    Work,
)

# A source of up to so many tokens is never cut if the model has positions for it.
_SHORTEST_BOUND = 64


def plain_lines(texts: Sequence[str], options: TextOptions) -> list[str]:
    """The texts without markup, as lines: what the router scores."""
    return [line for text in texts for block in _blocks(text, options) for line in LINE_END.split(block.text)]


def work_on(texts: Sequence[str], options: TextOptions, model: TextModel) -> Work:
    """The work of translating each text, for `drive` to do.

    It yields two batches at most: all sentences as they are, then those whose translations lost or changed an item,
    without their items. It raises nothing, whatever the texts and the hypotheses are.
    """
    encoder = _Encoder(options, model)
    documents = [encoder.read(text) for text in texts]
    sentences = [sentence for document in documents for sentence in document.sentences]
    if sentences:
        yield from encoder.translate(sentences, options.search.attention)
    if again := [sentence for sentence in sentences if sentence.has_lost_items]:
        for sentence in again:
            sentence.reading = Reading(sentence.segment, bare=True)
        yield from encoder.translate(again, attention=True)
    return [document.translation(options.search.hypotheses) for document in documents]


def _blocks(text: str, options: TextOptions) -> list[Block]:
    return [plain_block(text)] if options.format == "text" else blocks_of(text, options)


class _Sentence:
    """A segment and its good translations, best first."""

    def __init__(self, reading: Reading, renderer: Renderer) -> None:
        self.segment = reading.segment
        self.reading = reading
        self.rendered: list[Rendered] = []
        self._renderer = renderer
        self._failed: list[bool] = []

    @property
    def has_lost_items(self) -> bool:
        """Whether a second translation, without the items, would help."""
        return any(self._failed) and bool(self.reading.read)

    def take(self, hypotheses: Sequence[Hypothesis], tokens: Sequence[str]) -> None:
        """Keep the hypotheses that preserve what they must; `tokens` are those of the source."""
        found = [self._renderer.render(self.reading, tokens, hypothesis) for hypothesis in hypotheses]
        if self._failed[:1] == [True]:
            # The best hypothesis of the first round was lost: the best of this round takes its place.
            self.rendered, found = [], [*found[:1], *self.rendered, *found[1:]]
        self._failed = [rendered is None for rendered in found]
        for rendered in found:
            if rendered is not None and all(rendered.written.raw != other.written.raw for other in self.rendered):
                self.rendered.append(rendered)


@dataclass
class _Document:
    """A document and its sentences, in order."""

    document: Document
    sentences: list[_Sentence]

    def translation(self, hypotheses: int) -> TextTranslation:
        """The whole text in as many versions as `hypotheses`."""
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
        """The text with hypothesis `index` of each sentence, or with the last one of a sentence that has fewer."""
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
    """Texts to sentences of tokens for one model; each distinct text is encoded once."""

    def __init__(self, options: TextOptions, model: TextModel) -> None:
        self._options = options
        self._model = model
        # Half of the model's positions, so that no translation is cut for being longer than its source.
        self._longest = max(model.maximum_length // 2, min(model.maximum_length, _SHORTEST_BOUND))
        self._tokens: dict[str, tuple[str, ...]] = {}

    def read(self, text: str) -> _Document:
        """The sentences of a text that need translation."""
        kind = self._options.format
        document = Document(text, kind, "&nbsp;" if kind == "html" and "&nbsp;" in text else "\u00a0")
        renderer = Renderer(document, self._model, align=self._options.search.attention, protect=self._options.protect)
        language = self._model.source_language
        segments = [
            segment
            for block in _blocks(text, self._options)
            for segment in segments_of(
                block, text, language, self._options, fits=self._fits, knows=self._model.tokenizer.knows
            )
        ]
        return _Document(document, [_Sentence(self._reading(segment), renderer) for segment in segments])

    def translate(self, sentences: Sequence[_Sentence], attention: bool) -> Generator[SourceBatch, Found, None]:
        """Have the sentences translated as they are read now, equal ones once."""
        sources = [self._encode(sentence.reading.text) for sentence in sentences]
        distinct = tuple(dict.fromkeys(sources))
        attention = attention or any(sentence.reading.needs_attention for sentence in sentences)
        found = yield SourceBatch(distinct, replace(self._options.search, attention=attention))
        by_source = dict(zip(distinct, found, strict=True))
        for sentence, source in zip(sentences, sources, strict=True):
            sentence.take(by_source[source], source)

    def _encode(self, text: str) -> tuple[str, ...]:
        if text not in self._tokens:
            self._tokens[text] = tuple(self._model.encode(text))
        return self._tokens[text]

    def _fits(self, segment: Segment) -> bool:
        return self._short(Reading(segment, bare=True))

    def _reading(self, segment: Segment) -> Reading:
        """With its items, or without them from the start if it would be too long."""
        whole = Reading(segment, bare=False)
        return whole if self._short(whole) else Reading(segment, bare=True)

    def _short(self, reading: Reading) -> bool:
        return len(self._encode(reading.text)) <= self._longest
