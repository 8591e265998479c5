"""A hypothesis written into its document: items kept, tags placed, words aligned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fmalloc_runtime.engines.base import Hypothesis
from fmalloc_runtime.text.document.block import escape
from fmalloc_runtime.text.document.reading import Reading
from fmalloc_runtime.text.document.segment import Segment
from fmalloc_runtime.text.items import Item, find_again, invents
from fmalloc_runtime.text.quantities import notation
from fmalloc_runtime.text.rendering.alignment import Weights, links, proportional_weights, word_weights
from fmalloc_runtime.text.rendering.output import Output, Written, write
from fmalloc_runtime.text.rendering.placement import place
from fmalloc_runtime.text.rendering.repair import Comparison, Said, repairs
from fmalloc_runtime.text.rendering.terms import TermComparison, trials
from fmalloc_runtime.text.rendering.tree import beside, source_words, tree_of
from fmalloc_runtime.text.terms import Match, Terms
from fmalloc_runtime.text.translation import Format, TermPlace, TextModel
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
    """A translation ready for its document. `missing`: the quantities of the source that it lacks; `terms`: where its
    terms stand, in the order of the source.
    """

    written: Written
    score: float
    alignment: Alignment | None
    missing: tuple[str, ...] = ()
    terms: tuple[TermPlace, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A hypothesis of a reading, before tags and items are placed in it.

    `tokens`: those of the source; `again`: the items that it has, with their spans in the output.
    """

    reading: Reading
    tokens: Sequence[str]
    hypothesis: Hypothesis
    output: Output
    again: tuple[tuple[Span, Item], ...]


class Renderer:
    """Renders translations of the sentences of one document."""

    def __init__(
        self, document: Document, model: TextModel, *, align: bool, protect: bool, terms: Sequence[Terms] = ()
    ) -> None:
        """`terms`: of several glossaries; where their terms overlap, the first glossary counts."""
        self._document = document
        self._model = model
        self._align = align
        self._terms = terms
        self.protect = protect

    def matches(self, segment: Segment) -> list[Match]:
        """The terms of a segment, outside its items and across none of its tags."""
        found: list[Match] = []
        items = [(item.begin, item.end) for item in segment.items if item.kind != "number"]
        cuts = {tag.at for tag in segment.tags}
        for terms in self._terms:
            taken = sorted([*items, *((match.begin, match.end) for match in found)])
            found = sorted([*found, *terms.find(segment.text, taken, cuts)])
        return found

    def draft(self, reading: Reading, tokens: Sequence[str], hypothesis: Hypothesis) -> Draft | None:
        """The hypothesis with its items found again; None if it lost one, or is empty, also without what it invented.

        None, too, if it repeats what marks a note of the source. `tokens` are those of the source.
        """
        text = self._model.decode(hypothesis.tokens)
        if any(note.markers.are_in(text) for note in reading.notes):
            return None
        again = find_again(reading.segment.text, reading.read, text) if reading.read else []
        if again is None or not text or text.isspace():
            return None
        gaps = _gaps(reading, again, text)
        clean = reading.bare or (self.protect and not reading.read and invents(reading.segment.text, text))
        spans = self._model.tokenizer.target_spans(text, hypothesis.tokens)
        output = Output(text, spans, hypothesis.attention).spaced(gaps)
        if reading.taken or clean:
            output = output.without(reading.taken, placeholders=clean)
            if not output.text.strip():
                return None
        if again and output.text != text:
            again = find_again(reading.segment.text, reading.read, output.text) or []
        return Draft(reading, tokens, hypothesis, output, tuple(again))

    def repair(self, draft: Draft) -> Draft | None:
        """The draft with every quantity of the source; None if it has them, or cannot have more of them than it has."""
        compared = self._compared(draft)
        if compared is None or not compared.lost:
            return None
        weights = self._weights(draft, compared.source.words, compared.target.words)
        output = draft.output.edited(repairs(compared, weights), self._read(draft))
        again = find_again(draft.reading.segment.text, draft.reading.read, output.text)
        if again is None:
            return None
        repaired = replace(draft, output=output, again=tuple(again))
        after = self._compared(repaired)
        return repaired if after and len(after.lost) < len(compared.lost) else None

    def lost_terms(self, draft: Draft, matches: Sequence[Match]) -> int:
        """How many terms a draft lacks."""
        return len(self._compared_terms(draft, matches).lost)

    def term_trials(self, draft: Draft, matches: Sequence[Match]) -> list[Draft]:
        """The draft with every term of the source, in several ways; none if it has them all."""
        compared = self._compared_terms(draft, matches)
        if not compared.lost:
            return []
        segment = draft.reading.segment
        taken = {(item.begin, item.end) for item in draft.reading.taken}
        spans = {(match.begin, match.end) for match in matches}
        whole = sorted(spans.union(_apart(segment.items, matches)))
        sources = [span for span in words(segment.text, whole, {tag.at for tag in segment.tags}) if span not in taken]
        found = []
        for edits in trials(compared, sources, self._weights(draft, sources, compared.words)):
            output = draft.output.edited(edits, self._read(draft))
            again = find_again(segment.text, draft.reading.read, output.text)
            if again is not None:
                found.append(replace(draft, output=output, again=tuple(again)))
        return found

    @property
    def has_terms(self) -> bool:
        """Whether there is a glossary."""
        return bool(self._terms)

    def finish(self, draft: Draft, matches: Sequence[Match] = ()) -> Rendered:
        """The draft as the document writes it; `matches`: the terms of its source."""
        reading, output = draft.reading, draft.output
        compared = self._compared(draft)
        lost = compared.shown if compared else ()
        rewritten = any(item.raw != self._document.escape(item.text) for _, item in draft.again)
        if not (reading.needs_attention or rewritten or self._align):
            written = Written(self._document.escape(output.text), output.text)
            return Rendered(written, draft.hypothesis.score, None, lost, self._places(draft, matches, ()))
        kept = {span: item.raw for span, item in draft.again}
        sources = source_words(reading.segment, reading.taken)
        targets = words(output.text, sorted([*kept, *self._whole(draft, compared)]))
        weights = self._weights(draft, sources, targets)
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
        moved = tuple(zip(targets, written.words, strict=True))
        return Rendered(written, draft.hypothesis.score, alignment, lost, self._places(draft, matches, moved))

    def remembered(self, translation: str) -> Rendered:
        """A translation that the memory has, as the document writes it."""
        return Rendered(Written(self._document.escape(translation), translation), 0.0, None)

    def needs_editing(self, source: str, rendered: Rendered) -> float | None:
        """Estimated probability that a sentence's translation needs editing; None where the model has no estimate."""
        return self._model.needs_editing(source, rendered.written.shown, rendered.score)

    def _compared(self, draft: Draft) -> Comparison | None:
        """The quantities of source and output; None if the source has none."""
        reading = draft.reading
        if not self.protect or not reading.has_quantities:
            return None
        items = [(item.begin, item.end) for item in reading.segment.items if item.kind != "number"]
        source, target = notation(self._model.source_language), notation(self._model.target_language)
        kept = sorted(span for span, _ in draft.again)
        return Comparison(Said(reading.segment.text, items, source), Said(draft.output.text, kept, target))

    def _compared_terms(self, draft: Draft, matches: Sequence[Match]) -> TermComparison:
        kept = sorted(span for span, _ in draft.again)
        return TermComparison(matches, draft.output.text, kept, self._terms[0].target)

    def _places(
        self, draft: Draft, matches: Sequence[Match], moved: Sequence[tuple[Span, Span]]
    ) -> tuple[TermPlace, ...]:
        """Where terms stand in the source and in what is shown; `moved`: each word's span in the output and there."""
        if not matches:
            return ()
        found = self._compared_terms(draft, matches).places
        return tuple(((match.begin, match.end), _shown(found.get(match), moved)) for match in matches)

    def _whole(self, draft: Draft, compared: Comparison | None) -> list[Span]:
        """Quantities of an output, which nothing is placed inside; where there are tags, numbers alone."""
        if compared is None:
            return []
        found = compared.target.quantities
        if draft.reading.segment.tags:
            return [(part.begin, part.end) for one in found for part in one.parts]
        return [(one.begin, one.end) for one in found]

    def _weights(self, draft: Draft, sources: Sequence[Span], targets: Sequence[Span]) -> Weights:
        output = draft.output
        if output.attention is None or output.attention.shape != (len(output.tokens), len(draft.tokens)):
            return proportional_weights(sources, targets)
        return word_weights(output.attention, self._read(draft), output.tokens, sources, targets)

    def _read(self, draft: Draft) -> list[Span]:
        """The spans of the source tokens in the segment's text."""
        reading = draft.reading
        return reading.source_spans(self._model.tokenizer.source_spans(reading.text, draft.tokens))


def _shown(span: Span | None, moved: Sequence[tuple[Span, Span]]) -> Span | None:
    """A span of an output, in what is shown of it."""
    if span is None or not moved:
        return span
    inside = [(word, place) for word, place in moved if word[0] < span[1] and span[0] < word[1]]
    if not inside:
        return None
    (first, begins), (last, ends) = inside[0], inside[-1]
    return begins[0] + span[0] - first[0], ends[1] + span[1] - last[1]


def _apart(items: Sequence[Item], matches: Sequence[Match]) -> list[Span]:
    """The spans of the items that are outside the terms: a number may be in one."""
    return [
        (item.begin, item.end)
        for item in items
        if all(item.end <= match.begin or match.end <= item.begin for match in matches)
    ]


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
