"""What the text pipeline asks of a model and gives back. It runs no model itself: `drive` brings the two together."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fmalloc_runtime.engines.base import Hypothesis, TranslationOptions
from fmalloc_runtime.text.terms import Terms
from fmalloc_runtime.tokenizer.offsets import Span
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.annotations import Markers, Note

Format = Literal["text", "html", "xml"]
Splitting = Literal["sentences", "lines", "none"]
Numbers = Literal["kept", "restored", "missing"]
# Where a term stands in a source and in its translation; None where the translation lacks it.
TermPlace = tuple[Span, Span | None]


@dataclass(frozen=True)
class TextOptions:
    """How texts are read and translated.

    `splitting`: at line ends and between sentences, at line ends alone, or (`none`) only where a text is too long.
    `protect`: placeholders, URLs, e-mail addresses and signs that the vocabulary does not know must come out as they
    went in; numbers, dates and references that are missing are put back where the model finds that likely enough.
    `memory`: sentences that the domain's translation memory has word for word are answered from it. `ignore_tags`:
    elements whose content is not translated. `splitting_tags`: elements that end a sentence, besides
    those that do so in HTML; `non_splitting_tags`: elements that do not.
    """

    format: Format = "text"
    splitting: Splitting = "sentences"
    protect: bool = True
    memory: bool = False
    ignore_tags: frozenset[str] = frozenset()
    splitting_tags: frozenset[str] = frozenset()
    non_splitting_tags: frozenset[str] = frozenset()
    terms: Terms | None = None
    search: TranslationOptions = field(default_factory=TranslationOptions)


@dataclass(frozen=True)
class SentenceTranslation:
    """One sentence of a text; `score` as Hypothesis.score, None where `remembered`: taken from the translation memory.

    `alignment`: pairs of character spans, source first, if it was asked for. `numbers`: whether the model kept the
    numbers, dates and references of the source (also if it has none), they were put back, or some are missing:
    `missing`, as the source writes them. Without protection, None. `needs_editing`: the estimated probability of that,
    None where the bundle has no estimate. `terms`: where those of the glossary stand, None without a glossary.
    """

    source: str
    translation: str
    score: float | None
    alignment: tuple[tuple[Span, Span], ...] | None = None
    numbers: Numbers | None = None
    missing: tuple[str, ...] = ()
    needs_editing: float | None = None
    remembered: bool = False
    terms: tuple[TermPlace, ...] | None = None


@dataclass(frozen=True)
class TextTranslation:
    """A whole text. `alternatives`: the next best translations, one fewer than the hypotheses that were asked for."""

    text: str
    alternatives: tuple[str, ...]
    sentences: tuple[SentenceTranslation, ...]

    @property
    def needs_editing(self) -> float | None:
        """The estimate of its most doubtful sentence; None where there is none."""
        return max((one.needs_editing for one in self.sentences if one.needs_editing is not None), default=None)


class TextModel(Protocol):
    """What the text pipeline needs of a loaded bundle: Translator has it."""

    @property
    def maximum_length(self) -> int:
        """Most tokens of a source."""
        ...

    @property
    def source_language(self) -> str:
        """Code of the source language, such as `de`."""
        ...

    @property
    def target_language(self) -> str:
        """Code of the target language."""
        ...

    @property
    def beam_size(self) -> int | None:
        """The size of the beam where options state none; None: the engine's default."""
        ...

    @property
    def terms(self) -> Terms | None:
        """The domain's own glossary, if it has one: terms of a request count before it."""
        ...

    @property
    def term_markers(self) -> Markers | None:
        """What stands around a term's translation in a source, if the model has learned to read it there."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, for the character spans of tokens."""
        ...

    def encode(self, text: str) -> list[str]:
        """The tokens that the engine reads, with prefix and end token."""
        ...

    def decode(self, tokens: Sequence[str]) -> str:
        """The text of the engine's tokens."""
        ...

    def needs_editing(self, source: str, translation: str, log_probability: float) -> float | None:
        """Estimated probability that a sentence's translation needs editing; None where there is no estimate."""
        ...

    def remembered(self, sources: Sequence[str]) -> dict[str, str]:
        """The translations of those sources that the domain's memory has word for word."""
        ...

    def reminder(self, source: str) -> Note | None:
        """What to put beside a source: how the domain's memory has a similar one, if there is one and it is read."""
        ...


@dataclass(frozen=True)
class SourceBatch:
    """Sources to translate together, as tokens. `targets`: a translation of each to score instead, if there are any."""

    sources: tuple[tuple[str, ...], ...]
    options: TranslationOptions
    targets: tuple[tuple[str, ...], ...] = ()


# The hypotheses of each source of a batch, in its order; of a batch with targets, each target with its score.
Found = list[tuple[Hypothesis, ...]]
# Yields batches to translate, is sent what was found for each, and returns the texts in their order.
Work = Generator[SourceBatch, Found, list[TextTranslation]]


def advance(work: Work, found: Found | None = None) -> SourceBatch | list[TextTranslation]:
    """Take one step: the next batch to translate, or the texts at the end. `found` answers the batch before."""
    try:
        return next(work) if found is None else work.send(found)
    except StopIteration as done:
        translations: list[TextTranslation] = done.value
        return translations


def drive(work: Work, translate: Callable[[SourceBatch], Found]) -> list[TextTranslation]:
    """Do all of the work: `translate` is called with each batch."""
    step = advance(work)
    while isinstance(step, SourceBatch):
        step = advance(work, translate(step))
    return step
