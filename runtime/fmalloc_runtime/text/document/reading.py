"""A segment as a model reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fmalloc_runtime.text.document.block import OBJECT
from fmalloc_runtime.text.document.segment import Segment
from fmalloc_runtime.text.document.sentences import readable
from fmalloc_runtime.text.items import Item
from fmalloc_runtime.text.words import is_closing
from fmalloc_runtime.tokenizer.offsets import Span
from fmalloc_shared.annotations import Note, with_notes


@dataclass(frozen=True)
class Reading:
    """A segment as the model reads it: with its items, or without them (`bare`), except numbers, which it always reads.

    The placeholder of a kept element without a short text is never read, nor are signs that the vocabulary lacks.
    `notes`: what stands beside its terms, for a model that has learned to read that.
    """

    segment: Segment
    bare: bool
    notes: tuple[Note, ...] = ()

    @cached_property
    def taken(self) -> tuple[Item, ...]:
        """The items that the model does not read."""
        return tuple(item for item in self._kept if self.bare or _is_unreadable(item))

    @cached_property
    def read(self) -> tuple[Item, ...]:
        """The items that the model reads, except numbers."""
        return () if self.bare else tuple(item for item in self._kept if not _is_unreadable(item))

    @cached_property
    def has_quantities(self) -> bool:
        """Whether there are numbers, alone or in dates and references."""
        return any(item.kind == "number" for item in self.segment.items)

    @cached_property
    def _kept(self) -> tuple[Item, ...]:
        return tuple(item for item in self.segment.items if item.kind != "number")

    @cached_property
    def text(self) -> str:
        """The text that the model reads."""
        if not self.needs_attention:
            return readable(with_notes(self.segment.text, self.notes))
        return readable("".join(character for character, _ in self._characters))

    @property
    def needs_attention(self) -> bool:
        """Whether tags or items must be placed in the translation."""
        return bool(self.segment.tags or self.taken)

    def source_spans(self, tokens: Sequence[Span]) -> list[Span]:
        """Spans of the text that the model reads, as spans of the segment's text; a note is the end of its term."""
        origins = [origin for _, origin in self._characters]
        return [(origins[begin], origins[end - 1] + 1) if begin < end else (0, 0) for begin, end in tokens]

    @cached_property
    def _characters(self) -> list[tuple[str, int]]:
        text = self.segment.text
        if not self.needs_attention:
            return self._noted(list(zip(text, range(len(text)), strict=True)))
        found: list[tuple[str, int]] = []
        at, apart = 0, False
        gone = {(item.begin, item.end) for item in self.taken} | {(tag.at, tag.at) for tag in self.segment.tags}
        for begin, end in (*sorted(gone), (len(text), len(text))):
            _append(found, text, at, begin, apart=apart)
            at, apart = end, begin < end
        while found and found[-1][0].isspace():
            found.pop()
        return self._noted(found)

    def _noted(self, found: list[tuple[str, int]]) -> list[tuple[str, int]]:
        for note in reversed(self.notes):
            place = next((at for at in range(len(found), 0, -1) if found[at - 1][1] < note.at), 0)
            found[place:place] = [(character, note.at - 1) for character in note.text]
        return found


def _is_unreadable(item: Item) -> bool:
    return item.kind == "sign" or item.text == OBJECT


def _append(found: list[tuple[str, int]], text: str, begin: int, end: int, *, apart: bool) -> None:
    """Append a stretch of text after a tag or item that was removed, with at most one space between.

    `apart`: whether two words that would now touch need a space.
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
