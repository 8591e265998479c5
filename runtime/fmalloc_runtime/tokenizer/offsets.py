"""Character spans of tokens in the text that they encode, or that they were decoded to."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

Span = tuple[int, int]
"""A character span: [begin, end)."""

# How many characters a tokenizer may have dropped or rewritten before a token.
_SKIP = 6


def locate(text: str, surfaces: Sequence[str]) -> list[Span]:
    """The character span of each token in `text`, in order; never raises.

    Case and compatibility forms are ignored, since tokenizers normalise. Tokens that cannot be found get what their
    neighbours leave between them.
    """
    folded: list[str] = []
    origins: list[int] = []
    for index, character in enumerate(text):
        form = _fold(character)
        folded.append(form)
        origins.extend([index] * len(form))
    whole = "".join(folded)
    found: list[Span | None] = []
    cursor = 0
    for surface in surfaces:
        form = "".join(map(_fold, surface)).strip()
        at = whole.find(form, cursor, cursor + len(form) + _SKIP) if form else -1
        if at < 0:
            found.append(None)
            continue
        cursor = at + len(form)
        found.append((origins[at], origins[cursor - 1] + 1))
    return _fill(found, len(text))


def _fill(found: Sequence[Span | None], length: int) -> list[Span]:
    ends = [length] * (len(found) + 1)
    for index in range(len(found) - 1, -1, -1):
        span = found[index]
        ends[index] = ends[index + 1] if span is None else span[0]
    filled: list[Span] = []
    begin = 0
    for span, end in zip(found, ends, strict=False):
        filled.append((min(begin, end), end) if span is None else span)
        begin = begin if span is None else span[1]
    return filled


@lru_cache(4096)
def _fold(character: str) -> str:
    return unicodedata.normalize("NFKC", character).lower()
