"""What translating texts asks of a model and gives back; the text pipeline does no translating itself."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fmalloc_runtime.engines.base import Hypothesis, TranslationOptions
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer

Format = Literal["text", "html", "xml"]
Splitting = Literal["sentences", "lines", "none"]


@dataclass(frozen=True)
class TextOptions:
    """How texts are read and translated.

    `splitting`: at line ends and between sentences, at line ends alone, or (`none`) only where a text is too long.
    `protect`: placeholders, URLs, e-mail addresses and numbers must come out as they went in.
    `ignore_tags`: elements whose content is not translated. `splitting_tags`: elements that end a sentence, besides
    those that do so in HTML; `non_splitting_tags`: elements that do not.
    """

    format: Format = "text"
    splitting: Splitting = "sentences"
    protect: bool = True
    ignore_tags: frozenset[str] = frozenset()
    splitting_tags: frozenset[str] = frozenset()
    non_splitting_tags: frozenset[str] = frozenset()
    search: TranslationOptions = field(default_factory=TranslationOptions)


@dataclass(frozen=True)
class SentenceTranslation:
    """One sentence of a text; `score` as Hypothesis.score.

    `alignment`: pairs of character spans ((source begin, end), (translation begin, end)), where it was asked for.
    """

    source: str
    translation: str
    score: float
    alignment: tuple[tuple[tuple[int, int], tuple[int, int]], ...] | None = None


@dataclass(frozen=True)
class TextTranslation:
    """A whole text; `alternatives` are the next best ones, as many as hypotheses were asked for less one."""

    text: str
    alternatives: tuple[str, ...]
    sentences: tuple[SentenceTranslation, ...]


class TextModel(Protocol):
    """What the text pipeline needs of a loaded bundle: Translator has it."""

    @property
    def maximum_length(self) -> int:
        """Tokens that a source may have."""
        ...

    @property
    def source_language(self) -> str:
        """Code of the language that is read, as `de`."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """What says where tokens stand in text."""
        ...

    def encode(self, text: str) -> list[str]:
        """The tokens that the engine reads, with prefix and end token."""
        ...

    def decode(self, tokens: Sequence[str]) -> str:
        """The text of the engine's tokens."""
        ...


@dataclass(frozen=True)
class SourceBatch:
    """Sources to translate together, as tokens."""

    sources: tuple[tuple[str, ...], ...]
    options: TranslationOptions


# Yields what is to be translated, is sent the hypotheses of each source, returns the texts in their order.
Work = Generator[SourceBatch, list[tuple[Hypothesis, ...]], list[TextTranslation]]
