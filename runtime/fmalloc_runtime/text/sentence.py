"""One sentence on its way through a model: what the model reads, and what becomes of what it says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fmalloc_runtime.engines.base import Hypothesis
from fmalloc_runtime.text.alignment import Weights, links, proportional_weights, word_weights
from fmalloc_runtime.text.block import OBJECT, escape
from fmalloc_runtime.text.items import Item, find_again, invents
from fmalloc_runtime.text.output import Output, Written, write
from fmalloc_runtime.text.placement import place
from fmalloc_runtime.text.segment import Segment
from fmalloc_runtime.text.sentences import readable
from fmalloc_runtime.text.translation import Format, TextModel
from fmalloc_runtime.text.tree import source_words, tree_of
from fmalloc_runtime.text.words import is_closing, is_word, words
from fmalloc_runtime.tokenizer.offsets import Span

_SPACES = re.compile(r"\s+")
Alignment = tuple[tuple[Span, Span], ...]


@dataclass(frozen=True)
class Document:
    """What a sentence is part of; `space` is how its spaces that do not break are written."""

    text: str
    kind: Format
    space: str = "\u00a0"

    def escape(self, text: str) -> str:
        """Text as this document writes it."""
        return escape(text, self.kind, self.space)


@dataclass(frozen=True)
class Reading:
    """A segment as the model reads it: with its items in it, or without them (`bare`).

    What a kept element without a short text shows is never read.
    """

    segment: Segment
    bare: bool

    @cached_property
    def taken(self) -> tuple[Item, ...]:
        """The items that are not read."""
        return tuple(item for item in self.segment.items if self.bare or item.text == OBJECT)

    @cached_property
    def read(self) -> tuple[Item, ...]:
        """The items that are read."""
        return () if self.bare else tuple(item for item in self.segment.items if item.text != OBJECT)

    @cached_property
    def text(self) -> str:
        """What the model reads."""
        if not self.needs_attention:
            return readable(self.segment.text)
        return readable("".join(character for character, _ in self._characters))

    @property
    def needs_attention(self) -> bool:
        """Whether anything must be put into the translation."""
        return bool(self.segment.tags or self.taken)

    def source_spans(self, tokens: Sequence[Span]) -> list[Span]:
        """Spans of the text that the model reads as spans of the segment's."""
        origins = [origin for _, origin in self._characters]
        return [(origins[begin], origins[end - 1] + 1) if begin < end else (0, 0) for begin, end in tokens]

    @cached_property
    def _characters(self) -> list[tuple[str, int]]:
        text = self.segment.text
        if not self.needs_attention:
            return list(zip(text, range(len(text)), strict=True))
        found: list[tuple[str, int]] = []
        at, apart = 0, False
        gone = {(item.begin, item.end) for item in self.taken} | {(tag.at, tag.at) for tag in self.segment.tags}
        for begin, end in (*sorted(gone), (len(text), len(text))):
            _append(found, text, at, begin, apart=apart)
            at, apart = end, begin < end
        while found and found[-1][0].isspace():
            found.pop()
        return found


def _append(found: list[tuple[str, int]], text: str, begin: int, end: int, *, apart: bool) -> None:
    """Add a stretch of text behind a tag or item that was taken out, with one space at most between what is left.

    `apart`: whether words that now touch would be one.
    """
    for at in range(begin, end):
        character = text[at]
        if character.isspace() and (not found or found[-1][0].isspace()):
            continue
        if at == begin and found:
            if found[-1][0].isspace() and is_closing(character):
                found.pop()
            elif apart and found[-1][0].isalnum() and character.isalnum():
                found.append((" ", at))
        found.append((character, at))


@dataclass(frozen=True)
class Rendered:
    """A translation ready for its document."""

    written: Written
    score: float
    alignment: Alignment | None


class Renderer:
    """Puts translations of one document's sentences into it."""

    def __init__(self, document: Document, model: TextModel, *, align: bool, protect: bool) -> None:
        self._document = document
        self._model = model
        self._align = align
        self._protect = protect

    def render(self, reading: Reading, tokens: Sequence[str], hypothesis: Hypothesis) -> Rendered | None:
        """The hypothesis as it is written; None if it says nothing or has not kept what it should have.

        `tokens` are those of the source.
        """
        text = self._model.decode(hypothesis.tokens)
        again = find_again(reading.segment.text, reading.read, text) if reading.read else []
        if again is None or not text or text.isspace():
            return None
        again = [(span, item) for span, item in again if item.raw != self._document.escape(item.text)]
        clean = reading.bare or (self._protect and not reading.read and invents(reading.segment.text, text))
        if not (reading.needs_attention or again or self._align or clean):
            return Rendered(Written(self._document.escape(text), text), hypothesis.score, None)
        output = Output(text, self._model.tokenizer.target_spans(text, hypothesis.tokens))
        if reading.taken or clean:
            output = output.without(reading.taken, placeholders=clean)
            again = (find_again(reading.segment.text, reading.read, output.text) or []) if again else []
        return self._render(reading, tokens, hypothesis, output, {span: item.raw for span, item in again})

    def _render(
        self, reading: Reading, tokens: Sequence[str], hypothesis: Hypothesis, output: Output, kept: dict[Span, str]
    ) -> Rendered:
        sources = source_words(reading.segment, reading.taken)
        targets = words(output.text, list(kept))
        weights = self._weights(reading, tokens, hypothesis, output, (sources, targets))
        placed = []
        if reading.needs_attention:
            signs = [
                not is_word(text[slice(*span)])
                for text, spans in ((reading.segment.text, sources), (output.text, targets))
                for span in spans
            ]
            tree = tree_of(reading.segment, sources, self._document.text, reading.taken)
            placed = place(tree, weights, signs)
        raws = {index: kept[span] for index, span in enumerate(targets) if span in kept}
        written = write(output.text, targets, placed, raws, self._document.escape)
        alignment = None
        if self._align:
            alignment = tuple((sources[source], written.words[target]) for source, target in links(weights))
        return Rendered(written, hypothesis.score, alignment)

    def _weights(
        self,
        reading: Reading,
        tokens: Sequence[str],
        hypothesis: Hypothesis,
        output: Output,
        spans: tuple[Sequence[Span], Sequence[Span]],
    ) -> Weights:
        sources, targets = spans
        attention = hypothesis.attention
        if attention is None or attention.shape != (len(output.tokens), len(tokens)):
            return proportional_weights(sources, targets)
        read = reading.source_spans(self._model.tokenizer.source_spans(reading.text, tokens))
        return word_weights(attention, read, output.tokens, sources, targets)
