"""Placeholders in a text: the outermost ones, from left to right, in time linear in its length."""

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from fmalloc_runtime.text.syntaxes import SYNTAXES, Form
from fmalloc_runtime.tokenizer.offsets import Span

# A longer pair of braces is taken as text in braces.
_LONGEST_BRACES = 4_000
# In ICU messages, apostrophes around a brace make it a character.
_BRACE = re.compile(r"'[{}]'|[{}]")
_MARKS = "$%#@"
# Every placeholder has one of these; most sentences have none.
_FIRST = re.compile(r"[%{&$\[_\\<:@!]")


def _pattern(form: Form, *, prose: bool) -> re.Pattern[str]:
    found = (syntax.pattern for syntax in SYNTAXES if syntax.form == form and (prose or not syntax.prose))
    return re.compile("|".join(f"(?:{pattern})" for pattern in found))


_NESTED, _BRACES = _pattern("nested", prose=True), _pattern("braces", prose=True)
_ANY_SIGN, _CERTAIN_SIGN = _pattern("sign", prose=True), _pattern("sign", prose=False)


def find_placeholders(text: str, edges: Iterable[int] = (), *, prose: bool = True) -> list[Span]:
    """Disjoint spans in order; a placeholder inside another is not listed.

    `edges`: places that only braces with a beginning of their own, such as an ICU argument, may span. `prose`: also by
    the syntaxes that prose looks like now and then.
    """
    if _FIRST.search(text) is None:
        return []
    places = sorted(edges)
    pattern = _ANY_SIGN if prose else _CERTAIN_SIGN
    return [span for span, _ in leftmost(text, _braced(text, places), pattern, places)]


def leftmost(
    text: str, spans: Iterable[Span], pattern: re.Pattern[str], edges: Iterable[int]
) -> Iterator[tuple[Span, str | None]]:
    """Disjoint spans, given or matched by the pattern, with the name of the group that matched.

    Of two that overlap, the one that begins first is taken, or the longer one. A match extends to the end of a span
    that begins inside it, so that no half of one is left. `spans` are disjoint and in order; no match spans an edge.
    """
    waiting = deque(spans)
    at = 0
    for stop in (*edges, len(text)):
        match = pattern.search(text, at, stop) if at < stop else None
        while True:
            first = match.start() if match else stop
            span = waiting[0] if waiting and waiting[0][0] < stop else (stop, stop)
            if span[0] < first or (match and span[0] == first and span[1] >= match.end()):
                at = waiting.popleft()[1]
                yield span, None
            elif match:
                at = match.end()
                while waiting and waiting[0][0] < at:
                    at = max(at, waiting.popleft()[1])
                yield (first, at), match.lastgroup
            else:
                break
            if match and first < at:
                match = pattern.search(text, at, stop) if at < stop else None
        at = max(at, stop)


def _braced(text: str, edges: Sequence[int]) -> list[Span]:
    """Pairs of braces that are placeholders, with the mark before them."""
    found: list[Span] = []
    at = 0
    for opening, end in sorted(_pairs(text)):
        if opening < at or end - opening > _LONGEST_BRACES:
            continue
        begin = opening - 1 if opening > at and text[opening - 1] in _MARKS else opening
        cut = bisect_right(edges, begin) < len(edges) and edges[bisect_right(edges, begin)] < end
        if _NESTED.match(text, begin, end) or (not cut and _BRACES.fullmatch(text, opening, end)):
            found.append((begin, end))
            at = end
    return found


def _pairs(text: str) -> Iterator[Span]:
    """Matching braces, from the opening one to the end of the closing one."""
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            yield opened.pop(), match.end()
