"""What keeps a pair of sentences from teaching anything, whichever file or client it comes from."""

import re

LONGEST = 5000
"""Characters of a side; what is longer is no sentence."""
STEEPEST = 9.0
"""Ratio of the sides' characters."""
# Below this length the ratio says little: an abbreviation or a script of syllables packs much into few characters.
_RATIO_FROM = 50
# C1 is not among them: text whose Windows quotation marks were read as Latin-1 is otherwise sound.
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_LOST = "\ufffd"
_WORDS = re.compile(r"\w+")
# Of fewer words, many are names, numbers and words that both languages have.
_WORDS_FROM = 5
_COPIED = 0.8


def length_fault(source: str, target: str, longest: int | None = LONGEST, steepest: float | None = STEEPEST) -> str:
    """Why the sides' lengths are those of no pair, or nothing; None: any length, any ratio."""
    lengths = len(source), len(target)
    longer = max(lengths)
    if longest is not None and longer > longest:
        return f"over {longest} characters"
    if steepest is not None and longer >= _RATIO_FROM and longer > steepest * min(lengths):
        return f"length ratio over {steepest:g}"
    return ""


def has_control(text: str) -> bool:
    """Whether a text has ASCII control characters, or a sign for what could not be decoded."""
    return _LOST in text or (not text.isprintable() and _CONTROL.search(text) is not None)


def is_copied(source: str, target: str) -> bool:
    """Whether the target has the source's words, or of at least five almost all: nothing was translated."""
    left, right = (_WORDS.findall(text.casefold()) for text in (source, target))
    if left == right:
        return True
    known = set(left)
    return len(right) >= _WORDS_FROM and sum(word in known for word in right) >= _COPIED * len(right)
