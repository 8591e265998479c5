"""A file as a text with units: what is translated, and which characters the translation takes the place of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fmalloc_runtime.errors import BadRequestError, BodyTooLargeError
from fmalloc_runtime.text.translation import Format, TextOptions
from fmalloc_runtime.text.words import has_letters
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair, short_code

# Elements that stand for inline codes in what the text pipeline reads: see inline.py.
_INLINE, _SEGMENT = frozenset({"g", "x", "k"}), frozenset({"s"})
_BATCH_CHARACTERS, _BATCH_UNITS = 20_000, 200


class FileFormatError(BadRequestError):
    """The file is not what its name says, or holds what is not read; the message has the line."""


class FileTooLargeError(BodyTooLargeError):
    """The file, or what is packed in it, is larger than the limit."""


class Source(NamedTuple):
    """What the text pipeline reads of a unit; equal ones have equal translations."""

    text: str
    format: Format


@dataclass(frozen=True)
class Unit:
    """A text to translate, and characters `begin` to `end` of the file that its translation takes the place of.

    `write`: what stands in the file for a translation; None if it cannot stand there, so that all stays as it is.
    """

    source: Source
    begin: int
    end: int
    write: Callable[[str], str | None] = str


class Edit(NamedTuple):
    """Characters `begin` to `end` of the file, and what takes their place."""

    begin: int
    end: int
    text: str


@dataclass(frozen=True)
class Limits:
    """`size`: bytes of a file, unpacked; `text`: bytes of its text and markup; `unit`: characters of one unit.

    None: unlimited.
    """

    size: int = 64 * 2**20
    text: int | None = None
    unit: int | None = None

    def check_text(self, size: int, where: str, share: float = 1.0) -> None:
        """FileTooLargeError if so many bytes of text are too many; `share`: of the limit, what takes long to read."""
        if self.text is not None and size > (most := int(self.text * share)):
            raise FileTooLargeError(f"{where}: {size} bytes of text and markup, at most {most} are read")


@dataclass(frozen=True)
class Wanted:
    """What a file is read for. `again`: also the units that have a translation, unless that is final."""

    languages: LanguagePair
    again: bool = False
    limits: Limits = field(default_factory=Limits)

    def check(self, code: str, side: str, where: str) -> None:
        """FileFormatError unless a language code of the file is the bundles' language of this side."""
        expected = getattr(self.languages, side)
        if code and short_code(code) != short_code(expected):
            pair = " to ".join(short_code(language) for language in self.languages)
            raise FileFormatError(f"{where}: the {side} language is {code[:40]!r}, but {pair} is what is translated")


@dataclass(frozen=True)
class Document:
    """A file that was read: its text, units in order, edits that follow from any translation, and how it is encoded."""

    text: str
    units: tuple[Unit, ...]
    encode: Callable[[str], bytes]
    edits: tuple[Edit, ...] = ()

    @property
    def characters(self) -> int:
        """Characters to translate, those of repeated texts as often as they occur."""
        return sum(len(unit.source.text) for unit in self.units)

    def sources(self) -> list[Source]:
        """The distinct texts to translate, in order."""
        return list(dict.fromkeys(unit.source for unit in self.units))

    def written(self, translations: Mapping[Source, str]) -> bytes:
        """The file with translations; units without one, or with one that says nothing, stay as they are."""
        return self.result(translations)[0]

    def result(self, translations: Mapping[Source, str]) -> tuple[bytes, int]:
        """The same, and how many units stayed as they are."""
        found = [edit for unit in self.units if (edit := _edit(unit, translations)) is not None]
        pieces, at = [], 0
        for begin, end, text in sorted([*found, *self.edits] if found else []):
            if begin < at:
                raise FmallocError(f"two translations at character {begin}: this file cannot be written")
            pieces += [self.text[at:begin], text]
            at = end
        return self.encode("".join([*pieces, self.text[at:]])), len(self.units) - len(found)


def _edit(unit: Unit, translations: Mapping[Source, str]) -> Edit | None:
    translation = translations.get(unit.source, "")
    written = unit.write(translation) if translation.strip() else None
    return None if written is None else Edit(unit.begin, unit.end, written)


def kept_units(units: Sequence[Unit], limits: Limits, where: str) -> tuple[Unit, ...]:
    """The units with letters, in the order of the file; FileTooLargeError if one is longer than the limit."""
    for unit in units:
        if limits.unit is not None and len(unit.source.text) > limits.unit:
            raise FileTooLargeError(
                f"{where}: {len(unit.source.text)} characters in one unit, at most {limits.unit} are allowed"
            )
    return tuple(sorted((unit for unit in units if has_letters(unit.source.text)), key=lambda unit: unit.begin))


def batches(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """The sources in pieces of one format each, none of them large."""
    batch: list[Source] = []
    characters = 0
    for source in sorted(sources, key=lambda source: source.format):
        full = len(batch) == _BATCH_UNITS or characters + len(source.text) > _BATCH_CHARACTERS
        if batch and (full or source.format != batch[-1].format):
            yield batch
            batch, characters = [], 0
        batch.append(source)
        characters += len(source.text)
    if batch:
        yield batch


def text_options(options: TextOptions, batch: Sequence[Source]) -> TextOptions:
    """The options for a batch, which is in one format."""
    if batch[0].format != "xml":
        return replace(options, format=batch[0].format)
    return replace(options, format="xml", non_splitting_tags=_INLINE, splitting_tags=_SEGMENT)
