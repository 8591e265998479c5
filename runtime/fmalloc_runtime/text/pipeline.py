"""Texts to sentences, and translated sentences to texts again."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

from fmalloc_runtime.engines.base import Hypothesis
from fmalloc_runtime.text.document.block import Block, plain_block
from fmalloc_runtime.text.document.markup import blocks_of, section_format, sections_of, with_sections
from fmalloc_runtime.text.document.reading import Reading
from fmalloc_runtime.text.document.segment import Segment, segments_of
from fmalloc_runtime.text.document.sentences import LINE_END
from fmalloc_runtime.text.rendering.renderer import Document, Draft, Renderer
from fmalloc_runtime.text.sentence import Repair, Sentence
from fmalloc_runtime.text.terms import Match
from fmalloc_runtime.text.translation import (
    Found,
    SourceBatch,
    TextModel,
    TextOptions,
    TextTranslation,
    Work,
)
from fmalloc_shared.annotations import Note, term_note

# Most that numbers put back may cost a sentence, in nats per token; measured by benchmarks/serving/protection.py.
MOST_LOST = 1.5
# Fewer sentences are not worth a batch of their own.
_FEWEST_APART = 16
# A source of up to so many tokens is never cut if the model has positions for it.
_SHORTEST_BOUND = 64
# Tokens of text are shorter than this on average: a longer text is split without counting them.
_CHARACTERS_PER_TOKEN = 16


def plain_lines(texts: Sequence[str], options: TextOptions) -> list[str]:
    """The texts without markup, as lines: what the router scores."""
    lines = [line for text in texts for block in _blocks(text, options) for line in LINE_END.split(block.text)]
    for section in (section for text in texts for section in sections_of(text, options)):
        lines.extend(plain_lines([section], replace(options, format=section_format(section))))
    return lines


def work_on(texts: Sequence[str], options: TextOptions, model: TextModel, *, most_lost: float = MOST_LOST) -> Work:
    """The work of translating each text, for `drive` to do. `most_lost`: as MOST_LOST.

    It yields five batches at most: all sentences as they are, in two if many need no attention; those whose
    translations lost or changed an item, without their items; translations with terms put in, to be scored; and those
    with numbers put back.
    It raises nothing, whatever the texts and the hypotheses are. As many again for HTML in CDATA sections of XML, and
    for text in them.
    """
    options = replace(options, search=options.search.within(model.beam_size))
    sections = dict.fromkeys(section for text in texts for section in sections_of(text, options))
    inner: dict[str, TextTranslation] = {}
    for kind in ("html", "text"):
        if some := [section for section in sections if section_format(section) == kind]:
            found = yield from work_on(some, replace(options, format=kind), model, most_lost=most_lost)
            inner |= dict(zip(some, found, strict=True))
    encoder = _Encoder(options, model)
    documents = [encoder.read(text) for text in texts]
    sentences = [sentence for document in documents for sentence in document.sentences]
    if options.memory:
        found_there = model.remembered([sentence.segment.text for sentence in sentences])
        sentences = [sentence for sentence in sentences if not sentence.remember(found_there)]
        for sentence in sentences:
            encoder.remind(sentence)
    for group in _groups(sentences):
        yield from encoder.translate(group, options.search.attention)
    if again := [sentence for sentence in sentences if sentence.has_lost_items]:
        for sentence in again:
            sentence.reading = Reading(sentence.segment, bare=True)
        yield from encoder.translate(again, attention=True)
    if lacking := [(sentence, tried) for sentence in sentences if (tried := sentence.term_trials())]:
        yield from encoder.choose(lacking)
    if repairs := [repair for sentence in sentences if (repair := sentence.repair())]:
        yield from encoder.compare(repairs, most_lost)
    outer = [document.translation(options.search.hypotheses) for document in documents]
    return [_with_sections(text, whole, inner, options) for text, whole in zip(texts, outer, strict=True)]


def _with_sections(
    text: str, outer: TextTranslation, inner: Mapping[str, TextTranslation], options: TextOptions
) -> TextTranslation:
    """The translation of a text with those of its CDATA sections, whose sentences are the last ones."""
    if not inner:
        return outer
    own = {section: inner[section] for section in sections_of(text, options)}
    alternatives = tuple(
        with_sections(alternative, {section: found.alternatives[number] for section, found in own.items()})
        for number, alternative in enumerate(outer.alternatives)
    )
    sentences = (*outer.sentences, *(sentence for found in own.values() for sentence in found.sentences))
    best = with_sections(outer.text, {section: found.text for section, found in own.items()})
    return replace(outer, text=best, alternatives=alternatives, sentences=sentences)


def _groups(sentences: Sequence["Sentence"]) -> list[list["Sentence"]]:
    """Sentences that need attention and others, apart if there are many of both: attention takes the engine time."""
    groups: tuple[list[Sentence], list[Sentence]] = [], []
    for sentence in sentences:
        groups[sentence.reading.needs_attention or sentence.is_checked].append(sentence)
    apart = min(map(len, groups)) >= _FEWEST_APART
    return [group for group in (groups if apart else (list(sentences),)) if group]


def _blocks(text: str, options: TextOptions) -> list[Block]:
    return [plain_block(text)] if options.format == "text" else blocks_of(text, options)


@dataclass
class _Document:
    """A document and its sentences, in order."""

    document: Document
    sentences: list[Sentence]

    def translation(self, hypotheses: int) -> TextTranslation:
        """The whole text in as many versions as `hypotheses`."""
        best, *others = (self._with(index) for index in range(hypotheses))
        return TextTranslation(
            best,
            tuple(others),
            tuple(sentence.told for sentence in self.sentences if sentence.rendered),
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
        align, protect = self._options.search.attention, self._options.protect
        terms = [terms for terms in (self._options.terms, self._model.terms) if terms is not None]
        renderer = Renderer(document, self._model, align=align, protect=protect, terms=terms)
        language = self._model.source_language
        longest, knows = _CHARACTERS_PER_TOKEN * self._longest, self._model.tokenizer.knows
        segments = [
            segment
            for block in _blocks(text, self._options)
            for segment in segments_of(
                block, text, language, self._options, longest=longest, fits=self._fits, knows=knows
            )
        ]
        sentences = []
        for segment in segments:
            matches = renderer.matches(segment)
            sentences.append(Sentence(self._reading(segment, matches), matches, renderer))
        return _Document(document, sentences)

    def translate(self, sentences: Sequence[Sentence], attention: bool) -> Generator[SourceBatch, Found, None]:
        """Have the sentences translated as they are read now, equal ones once."""
        sources = [self._encode(sentence.reading.text) for sentence in sentences]
        distinct = tuple(dict.fromkeys(sources))
        attention = attention or any(sentence.reading.needs_attention for sentence in sentences)
        fast = not attention and any(sentence.is_checked for sentence in sentences)
        search = replace(self._options.search, attention=attention or fast, fast_attention=fast)
        found = yield SourceBatch(distinct, search)
        by_source = dict(zip(distinct, found, strict=True))
        for sentence, source in zip(sentences, sources, strict=True):
            sentence.take(by_source[source], source)

    def compare(self, repairs: Sequence[Repair], most_lost: float) -> Generator[SourceBatch, Found, None]:
        """Take the repaired translations that the model does not find much less likely than those before."""
        sources: list[tuple[str, ...]] = []
        targets: list[tuple[str, ...]] = []
        tried = []
        prefix = len(self._model.tokenizer.target_prefix)
        for repair in repairs:
            after = tuple(self._model.tokenizer.encode_target(repair.after.output.text))
            if len(after) < self._model.maximum_length - prefix:
                sources.append(tuple(repair.before.tokens))
                targets.append(after)
                tried.append(repair)
        if not tried:
            return
        found = yield SourceBatch(tuple(sources), self._options.search, tuple(targets))
        for repair, (scored,) in zip(tried, found, strict=True):
            before = repair.before.hypothesis
            if self._per_token(before) - scored.score <= most_lost:
                score = scored.score / self._per_token(replace(scored, score=1.0))
                repair.sentence.restore(replace(repair.after, hypothesis=replace(before, score=score)))

    def choose(self, lacking: Sequence[tuple[Sentence, Sequence[Draft]]]) -> Generator[SourceBatch, Found, None]:
        """Of several translations of each sentence, take the one that the model finds likeliest per token."""
        tried = [(sentence, draft) for sentence, drafts in lacking for draft in drafts]
        targets = [tuple(self._model.tokenizer.encode_target(draft.output.text)) for _, draft in tried]
        most = self._model.maximum_length - len(self._model.tokenizer.target_prefix)
        fitting = [at for at, target in enumerate(targets) if len(target) < most]
        if not fitting:
            return
        sources = tuple(tuple(tried[at][1].tokens) for at in fitting)
        found = yield SourceBatch(sources, self._options.search, tuple(targets[at] for at in fitting))
        best: dict[Sentence, tuple[float, Draft]] = {}
        for at, (scored,) in zip(fitting, found, strict=True):
            sentence, draft = tried[at]
            if sentence not in best or scored.score > best[sentence][0]:
                score = scored.score / self._per_token(replace(scored, score=1.0))
                best[sentence] = scored.score, replace(draft, hypothesis=replace(draft.hypothesis, score=score))
        for sentence, (_, draft) in best.items():
            sentence.use(draft)

    def _per_token(self, hypothesis: Hypothesis) -> float:
        """The score of a hypothesis as if the length penalty were 1: nats per token, end token and prefix included."""
        length = len(hypothesis.tokens) + 1 + len(self._model.tokenizer.target_prefix)
        return hypothesis.score * float(length ** (self._options.search.length_penalty - 1))

    def _encode(self, text: str) -> tuple[str, ...]:
        if text not in self._tokens:
            self._tokens[text] = tuple(self._model.encode(text))
        return self._tokens[text]

    def _fits(self, segment: Segment) -> bool:
        return self._short(Reading(segment, bare=True))

    def _reading(self, segment: Segment, matches: Sequence[Match]) -> Reading:
        """With its items and the translations of its terms, or without them from the start if it would be too long."""
        markers, notes = self._model.term_markers, tuple[Note, ...]()
        if markers and not markers.are_in(segment.text):
            notes = tuple(term_note(match.end, match.target, markers) for match in matches)
        wanted = (Reading(segment, bare=False, notes=notes), Reading(segment, bare=False))
        return next(filter(self._short, wanted), Reading(segment, bare=True))

    def remind(self, sentence: Sentence) -> None:
        """Have it read with the translation of a similar one, if the model has learned that and there is room."""
        if note := self._model.reminder(sentence.segment.text):
            reading = replace(sentence.reading, notes=(*sentence.reading.notes, note))
            sentence.reading = reading if self._short(reading) else sentence.reading

    def _short(self, reading: Reading) -> bool:
        return len(self._encode(reading.text)) <= self._longest
