"""Words and other tokens of a text as character spans that never cut a grapheme."""

import unicodedata
from collections.abc import Collection, Sequence
from functools import lru_cache

from fmalloc_runtime.tokenizer.offsets import Span

# Scripts without spaces between words: each of their characters is a separate span.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_JOINER = "\u200d"
# Of a Persian word; and what turns a black flag into a region's.
_MARKS = "\u200c\u200d"
_FLAG_TAGS = range(0xE0020, 0xE0080)
_SKIN_TONES = range(0x1F3FB, 0x1F400)
# Two of them are a flag.
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
# Kinds of characters that are one span where they follow each other.
_JOINED = ("word", "flag")
_INNER = "'’"
_GROUPING = ".,:"
_OPENING = "([{<«„‚“‘¿¡"
_QUOTES = ('""', "''", "()", "[]", "«»", "»«", "„“", "“”", "‚‘", "‘’", "””")
_CLOSING = ".,;:!?…)]}>»”’、。，；：！？"


def words(text: str, whole: Sequence[Span] = (), cuts: Collection[int] = ()) -> list[Span]:
    """Words, numbers and single other characters: everything except whitespace.

    `whole`: disjoint spans in order that are one word each; `cuts`: places where a word ends even in the middle.
    """
    spans: list[Span] = []
    at = 0
    for begin, end in (*whole, (len(text), len(text))):
        spans.extend(_words(text, at, begin, cuts))
        if begin < end:
            spans.append((begin, end))
        at = end
    return spans


def _words(text: str, begin: int, end: int, cuts: Collection[int]) -> list[Span]:
    spans: list[Span] = []
    before = "space"
    for at in range(begin, end):
        kind = _kind(text[at])
        if kind == "sign" and before == "word" and at + 1 < end and _inside(text[at - 1], text[at], text[at + 1]):
            kind = "word"
        joined = before != "space" and (
            kind == "mark" or text[at - 1] == _JOINER or (kind == before and kind in _JOINED and at not in cuts)
        )
        if joined:
            spans[-1] = (spans[-1][0], at + 1)
        elif kind != "space":
            spans.append((at, at + 1))
            before = "sign" if kind == "mark" else kind
        if kind == "space":
            before = kind
    return spans


def is_word(text: str) -> bool:
    """Whether a span's text is a word or a number."""
    return any(map(str.isalnum, text))


def has_letters(text: str) -> bool:
    """Whether a text has anything to translate."""
    return any(map(str.isalpha, text))


def in_word(character: str) -> bool:
    """Whether the character belongs to a word of a script with spaces between words."""
    return bool(character) and _kind(character) == "word"


def is_opening(character: str) -> bool:
    """Whether no space follows this character."""
    return character in _OPENING


def is_closing(character: str) -> bool:
    """Whether no space precedes this character."""
    return character in _CLOSING


def is_quote(before: str, after: str) -> bool:
    """Whether two characters are a pair of quotation marks or brackets."""
    return before + after in _QUOTES


def starts_sign(text: str, at: int) -> bool:
    """Whether a grapheme starts at `at`."""
    if not 0 < at < len(text):
        return True
    kind = _kind(text[at])
    return kind != "mark" and text[at - 1] != _JOINER and not kind == _kind(text[at - 1]) == "flag"


def _inside(before: str, sign: str, after: str) -> bool:
    if sign in _INNER:
        return before.isalpha() and after.isalpha()
    return sign in _GROUPING and before.isdigit() and after.isdigit()


@lru_cache(8192)
def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    code = ord(character)
    if unicodedata.category(character)[0] == "M" or character in _MARKS or code in _SKIN_TONES or code in _FLAG_TAGS:
        return "mark"
    if code in _FLAG_LETTERS:
        return "flag"
    if any(first <= code <= last for first, last in _UNSPACED):
        return "sign"
    return "word" if character.isalnum() or character == "_" else "sign"
