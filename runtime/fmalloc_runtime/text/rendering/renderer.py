"""A hypothesis written into its document: items kept, tags placed, words aligned."""

from collections.abc import Sequence
from dataclasses import dataclass

from fmalloc_runtime.engines.base import Hypothesis
from fmalloc_runtime.text.document.block import escape
from fmalloc_runtime.text.document.reading import Reading
from fmalloc_runtime.text.items import Item, find_again, invents
from fmalloc_runtime.text.rendering.alignment import Weights, links, proportional_weights, word_weights
from fmalloc_runtime.text.rendering.output import Output, Written, write
from fmalloc_runtime.text.rendering.placement import place
from fmalloc_runtime.text.rendering.tree import beside, source_words, tree_of
from fmalloc_runtime.text.translation import Format, TextModel
from fmalloc_runtime.text.words import in_word, is_quote, is_word, words
from fmalloc_runtime.tokenizer.offsets import Span

Alignment = tuple[tuple[Span, Span], ...]


@dataclass(frozen=True)
class Document:
    """The document of a sentence; `space` is how it writes non-breaking spaces."""

    text: str
    kind: Format
    space: str = "\u00a0"

    def escape(self, text: str) -> str:
        """Text escaped for this document."""
        return escape(text, self.kind, self.space)


@dataclass(frozen=True)
class Rendered:
    """A translation ready for its document."""

    written: Written
    score: float
    alignment: Alignment | None


class Renderer:
    """Renders translations of the sentences of one document."""

    def __init__(self, document: Document, model: TextModel, *, align: bool, protect: bool) -> None:
        self._document = document
        self._model = model
        self._align = align
        self._protect = protect

    def render(self, reading: Reading, tokens: Sequence[str], hypothesis: Hypothesis) -> Rendered | None:
        """The hypothesis as the document writes it; None if it is empty or lost an item.

        `tokens` are those of the source.
        """
        text = self._model.decode(hypothesis.tokens)
        again = find_again(reading.segment.text, reading.read, text) if reading.read else []
        if again is None or not text or text.isspace():
            return None
        gaps = _gaps(reading, again, text)
        rewritten = any(item.raw != self._document.escape(item.text) for _, item in again)
        clean = reading.bare or (self._protect and not reading.read and invents(reading.segment.text, text))
        if not (reading.needs_attention or rewritten or self._align or clean):
            text = Output(text, ()).spaced(gaps).text
            return Rendered(Written(self._document.escape(text), text), hypothesis.score, None)
        output = Output(text, self._model.tokenizer.target_spans(text, hypothesis.tokens)).spaced(gaps)
        if reading.taken or clean:
            output = output.without(reading.taken, placeholders=clean)
        if again and output.text != text:
            again = find_again(reading.segment.text, reading.read, output.text) or []
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
            placed = place(tree, weights, signs, _empty_quotes(output.text, targets))
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


def _empty_quotes(text: str, targets: Sequence[Span]) -> list[int]:
    """The words that close a pair of quotation marks or brackets with nothing in it."""
    shown = [text[slice(*span)] for span in targets]
    return [at for at in range(1, len(shown)) if is_quote(shown[at - 1], shown[at])]


def _gaps(reading: Reading, found: Sequence[tuple[Span, Item]], text: str) -> list[int]:
    """Places of the output where a word touches an item that no word touches in the source."""
    gaps = []
    for (begin, end), item in found:
        before, after = beside(reading.segment.text, item.begin, item.end)
        if before != "word" and in_word(text[max(begin - 1, 0) : begin]):
            gaps.append(begin)
        if after != "word" and in_word(text[end : end + 1]):
            gaps.append(end)
    return gaps
