"""Sentence boundaries, and places to split sentences that are too long."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

import sentencex

from fmalloc_runtime.text.translation import Splitting
from fmalloc_runtime.text.words import starts_sign
from fmalloc_runtime.tokenizer.offsets import Span

LINE_END = re.compile(r"\r\n|\n|\r")
# sentencex fails on wide whitespace beside a full stop (1.0.32), and on half a surrogate pair.
_WIDE_SPACE = re.compile(r"[^\S\t\n\r ]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CLAUSE = re.compile(r"[;:,،–—]\s+|[；：，、]")
_SPACE = re.compile(r"\s+")
# Only after these, a sentence may begin without a space before it: a.b is a name.
_UNSPACED_ENDS = "。．！？｡…」』）”"
# sentencex takes quadratic time in the length of a line in the worst case.
_LONGEST_LINE = 3_000
# A place to split a sentence is looked for this near its middle first.
_NEAR = 250


def sentences(text: str, language: str, splitting: Splitting, whole: Sequence[Span] = ()) -> list[Span]:
    """Sentences without surrounding whitespace; each other character is in one of them.

    `whole`: spans in order inside which no sentence ends.
    """
    cuts = {0, len(text)}
    if splitting != "none":
        cuts.update(at for match in LINE_END.finditer(text) for at in match.span())
    if splitting == "sentences":
        for begin, end in pairwise(sorted(cuts)):
            cuts.update(_sentence_ends(text, begin, end, language))
    ends = [at for at in sorted(cuts) if not _inside(at, whole)]
    return [span for piece in pairwise(ends) for span in strip(text, *piece)]


def fitting(text: str, span: Span, whole: Sequence[Span], fits: Callable[[Span], bool]) -> list[Span]:
    """The span in pieces that fit, split at the best places, without whitespace between them.

    A single grapheme or `whole` span that does not fit stays as it is.
    """
    pieces, rest = [], [span]
    while rest:
        piece = rest.pop()
        at = None if fits(piece) else _cut(text, *piece, whole)
        if at is None:
            pieces.append(piece)
        else:
            rest.extend([*strip(text, at, piece[1]), *strip(text, piece[0], at)])
    return pieces


def strip(text: str, begin: int, end: int) -> list[Span]:
    """The span without surrounding whitespace; none if nothing is left."""
    piece = text[begin:end]
    core = piece.strip()
    if not core:
        return []
    begin += len(piece) - len(piece.lstrip())
    return [(begin, begin + len(core))]


def readable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _sentence_ends(text: str, begin: int, end: int, language: str) -> list[int]:
    ends = []
    while begin < end:
        stop = min(begin + _LONGEST_LINE, end)
        if stop < end and (space := text.rfind(" ", begin + 1, stop)) > 0:
            stop = space
        at = begin
        for sentence in _segment(_WIDE_SPACE.sub(" ", readable(text[begin:stop])), language):
            at += len(sentence)
            if at == stop or text[at - 1].isspace() or text[at - 1] in _UNSPACED_ENDS:
                ends.append(at)
        if stop < end:
            ends.pop()
            # The last sentence continues in the next window, unless it filled this one.
            stop = ends[-1] if ends and ends[-1] > begin else stop
        begin = stop
    return ends


def _segment(text: str, language: str) -> list[str]:
    if not text.strip():
        return [text]
    pieces: list[str] = sentencex.segment(language, text)
    return pieces if "".join(pieces) == text else [text]


def _inside(place: int, spans: Sequence[Span]) -> bool:
    """Whether a place is inside one of the spans, which are disjoint and in order."""
    before = bisect_left(spans, (place, 0)) - 1
    return before >= 0 and place < spans[before][1]


def _cut(text: str, begin: int, end: int, whole: Sequence[Span]) -> int | None:
    """The best place to split a span: after a clause near its middle, else at a space, else between two graphemes."""
    middle, quarter = (begin + end) // 2, (end - begin + 3) // 4
    kinds: tuple[tuple[Callable[[str, int, int], Iterable[int]], int], ...]
    kinds = ((partial(_ends, _CLAUSE), quarter), (partial(_ends, _SPACE), 1), (_graphemes, 1))
    for places, margin in kinds:
        for reach in (_NEAR, end - begin):
            low, high = max(begin + margin, middle - reach), min(end - margin, middle + reach)
            allowed = [at for at in places(text, low, high) if not _inside(at, whole)]
            if allowed:
                return min(allowed, key=lambda at: abs(2 * at - begin - end))
    return None


def _ends(pattern: re.Pattern[str], text: str, low: int, high: int) -> list[int]:
    """Ends of matches from `low` to `high`; a match may begin just before `low`."""
    return [at for match in pattern.finditer(text, max(low - 2, 0), high) if (at := match.end()) >= low]


def _graphemes(text: str, low: int, high: int) -> list[int]:
    return [at for at in range(low, high + 1) if starts_sign(text, at)]
