"""The output of the model, and the text written into the document."""

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fmalloc_runtime.text.items import Item, foreign
from fmalloc_runtime.text.rendering.alignment import Weights
from fmalloc_runtime.text.rendering.placement import Placed
from fmalloc_runtime.text.rendering.tree import Beside
from fmalloc_runtime.text.words import in_word, is_closing, is_opening, is_quote
from fmalloc_runtime.tokenizer.offsets import Span

_PREFIXES = "%{$#@"
_DOUBLED = "%{}[]<>$_:"
_SPACES = re.compile(r"^\s+|\s+(?=\s)|\s+$")


class Edit(NamedTuple):
    """Characters `begin` to `end` of an output become `text`, which says what `origin` says in the source."""

    begin: int
    end: int
    text: str
    origin: Span


@dataclass(frozen=True)
class Output:
    """The text of a hypothesis, the character span of each of its tokens, and their attention if the model gives it."""

    text: str
    tokens: Sequence[Span] = ()
    attention: Weights | None = None

    def edited(self, edits: Sequence[Edit], read: Sequence[Span]) -> "Output":
        """The output with disjoint edits, which are in order; each is a token that comes from its origin alone.

        `read`: spans of the source tokens in the source's text.
        """
        pieces, at = [], 0
        moves: list[tuple[Edit, int]] = []
        moved = 0
        added = []
        for edit in edits:
            pieces.extend([self.text[at : edit.begin], edit.text])
            at = edit.end
            moves.append((edit, moved))
            added.append((edit.begin + moved, edit.begin + moved + len(edit.text)))
            moved += len(edit.text) - (edit.end - edit.begin)
        begins = [edit.begin for edit, _ in moves]

        def place(at: int, *, end: bool) -> int:
            index = (bisect_left if end else bisect_right)(begins, at) - 1
            if index < 0:
                return at
            edit, before = moves[index]
            if at == edit.begin and edit.begin < edit.end:
                return at + before
            return max(at, edit.end) + before + len(edit.text) - (edit.end - edit.begin)

        tokens = []
        for begin, end in self.tokens:
            first = place(begin, end=False)
            tokens.append((first, max(first, place(end, end=True))))
        attention = self.attention
        if attention is not None:
            begin_at, end_at = np.array(read, dtype=np.int64).reshape(-1, 2).T
            rows = [(begin_at < edit.origin[1]) & (edit.origin[0] < end_at) for edit in edits]
            shares = np.array(rows, dtype=np.float32).reshape(len(edits), len(read))
            attention = np.concatenate([attention, shares / np.maximum(shares.sum(axis=1, keepdims=True), 1)])
        return Output("".join(pieces) + self.text[at:], [*tokens, *added], attention)

    def without(self, items: Sequence[Item], *, placeholders: bool) -> "Output":
        """The output without the items and, with `placeholders`, without anything that looks like one."""
        kept = list(range(len(self.text)))
        text = self.text
        while spans := foreign(items, text, placeholders=placeholders):
            gone = {at for begin, end in spans for at in range(begin, end)}
            kept = [origin for at, origin in enumerate(kept) if at not in gone]
            text = "".join(self.text[origin] for origin in kept)
        if len(kept) == len(self.text):
            return self
        gone = {at for match in _SPACES.finditer(text) for at in range(*match.span())}
        kept = [origin for at, origin in enumerate(kept) if at not in gone]
        before = [0] * (len(self.text) + 1)
        for origin in kept:
            before[origin + 1] = 1
        for at in range(1, len(before)):
            before[at] += before[at - 1]
        tokens = [(before[begin], before[end]) for begin, end in self.tokens]
        return replace(self, text="".join(self.text[origin] for origin in kept), tokens=tokens)

    def spaced(self, places: Sequence[int]) -> "Output":
        """The output with a space at each place, which are in order."""
        if not places:
            return self
        text = "".join(f"{self.text[begin:end]} " for begin, end in pairwise((0, *places)))
        tokens = []
        for begin, end in self.tokens:
            first = begin + bisect_right(places, begin)
            tokens.append((first, max(first, end + bisect_left(places, end))))
        return replace(self, text=text + self.text[places[-1] :], tokens=tokens)


@dataclass(frozen=True)
class Written:
    """A translation as written, and as a reader sees it; `words`: the span of each word in `shown`."""

    raw: str
    shown: str
    words: tuple[Span, ...] = ()


def write(
    text: str,
    words: Sequence[Span],
    placed: Sequence[Placed],
    kept: Mapping[int, str],
    escape: Callable[[str], str],
) -> Written:
    """The text with markup placed before its words; `kept`: what to write for words that are items."""
    writer = _Writer(escape)
    rest = deque(placed)
    spans: list[Span] = []
    at = 0
    for index, (begin, end) in enumerate((*words, (len(text), len(text)))):
        writer.space = text[at:begin]
        while rest and rest[0].at == index:
            writer.place(rest.popleft())
        if begin < end:
            writer.before_word(text[begin])
            first = writer.length
            shown = text[begin:end]
            writer.add(kept.get(index) or escape(shown), shown)
            spans.append((first, writer.length))
        at = end
    return Written("".join(writer.raw), "".join(writer.shown), tuple(spans))


def _would_merge(before: str, after: str) -> bool:
    """Whether two adjacent characters would read as one: 2 and 5, % and %s, {0} and }."""
    if (before.isalnum() or before == "_") and (after.isalnum() or after == "_"):
        return True
    return (before in _PREFIXES and after in ("%", "{")) or (before == after and before in _DOUBLED)


class _Writer:
    """Writes the space between two words on that side of the markup between them where the source has it."""

    def __init__(self, escape: Callable[[str], str]) -> None:
        self.raw: list[str] = []
        self.shown: list[str] = []
        self.length = 0
        self.space = ""  # of the text, not yet written
        self._escape = escape
        self._last = " "  # shown
        self._owed = False
        self._touching = False
        self._after: Beside = "word"  # in the source after the point before
        self._quote = " "  # before that point

    def add(self, raw: str, shown: str) -> None:
        if raw:
            self.raw.append(raw)
        if shown:
            self.shown.append(shown)
            self.length += len(shown)
            self._last = shown[-1]

    def place(self, placed: Placed) -> None:
        first = next((shown[0] for _, shown in placed.parts if shown and not shown.isspace()), "")
        if placed.kind == "point":
            before = placed.beside[0]
            spaced = before == "space" and not is_opening(self._last)
            apart = before != "word" and in_word(self._last)
            if self._owed or spaced or apart or _would_merge(self._last, first):
                self._write_space()
            self._quote = self._last
        elif placed.kind == "open" and (self.space or self._owed):
            self._write_space()
        for raw, shown in placed.parts:
            self.add(raw, "" if shown.isspace() and self._last.isspace() else shown)
        if placed.kind == "point":
            self._after = placed.beside[1]
            self._owed, self._touching = self._after == "space", bool(first)

    def before_word(self, character: str) -> None:
        if self._after == "sign" and is_quote(self._quote, character):
            self.space = ""
        owed = self._owed and not is_closing(character)
        apart = self._after == "sign" and in_word(character)
        if self.space or owed or apart or (self._touching and _would_merge(self._last, character)):
            self._write_space()
        self._owed = self._touching = False
        self._after = "word"

    def _write_space(self) -> None:
        space, self.space, self._owed = self.space or " ", "", False
        if self.raw and not self.raw[-1][-1].isspace():
            self.raw.append(self._escape(space))
        if not self._last.isspace():
            self.add("", space)
