"""Items that a translation must preserve: placeholders, addresses, paths, numbers, and signs (found in signs.py)."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fmalloc_runtime.text.placeholders import find_placeholders, leftmost
from fmalloc_runtime.text.quantities import NUMBER
from fmalloc_runtime.tokenizer.offsets import Span

Kind = Literal["placeholder", "address", "number", "element", "sign"]

_ADDRESS = r"""
    (?P<address>
      (?<![\w])(?:[A-Za-z][A-Za-z+.-]{1,15}://|mailto:|www\.(?=\w))[^\s<>"„“”«»]{0,2000}[\w/=\#&%+~@$*-]
    | (?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}
    | (?<!\w)[A-Za-z]:\\(?:[\w.$%@+~-]+\\?){0,50}
    | (?<![\w/.~<>:@+-])(?:(?:~|\.{1,2})/|/(?=[\w.@+-]+/))(?:[\w.@+-]+/)*[\w.@+-]*(?<![.])
    )"""
_PATTERN = re.compile(f"{_ADDRESS}|(?P<number>{NUMBER})", re.VERBOSE)


@dataclass(frozen=True)
class Item:
    """A span of text to preserve; `raw` is its source in the document, `text` what a reader sees."""

    begin: int
    end: int
    kind: Kind
    text: str
    raw: str


def find_items(text: str, edges: Iterable[int] = ()) -> list[tuple[Span, Kind]]:
    """Disjoint items from left to right; `edges` as for find_placeholders. An address may have placeholders in it."""
    places = sorted(edges)
    found = leftmost(text, find_placeholders(text, places), _PATTERN, places)
    return [(span, kind or "placeholder") for span, kind in found]  # type: ignore[misc]


def find_again(source: str, items: Sequence[Item], output: str) -> list[tuple[Span, Item]] | None:
    """The items, none of them a number, with their spans in an output; None unless it has each as often as the source.

    Placeholders that are not in the source are errors.
    """
    if invents(source, output):
        return None
    if any(output.count(item.text) != source.count(item.text) for item in items if item.kind != "element"):
        return None
    there, here = _occurrences(source, items), _occurrences(output, items)
    waiting: dict[str, list[Item]] = {}
    for item in reversed(items):
        waiting.setdefault(item.text, []).append(item)
    wanted = Counter(item.text for item in items)
    if any(Counter(text for _, text in found) != wanted for found in (there, here)):
        return None  # an item's text occurs elsewhere in the source, too: the two cannot be told apart
    return [(span, waiting[text].pop()) for span, text in here]


def invents(source: str, output: str) -> bool:
    """Whether the output has a placeholder that is not in the source; what prose may look like does not count."""
    return any(output[slice(*span)] not in source for span in find_placeholders(output, prose=False))


def foreign(items: Sequence[Item], output: str, *, placeholders: bool) -> list[Span]:
    """Spans that a translation without the items must not have: the items, and with `placeholders` all placeholders."""
    spans = list(find_placeholders(output, prose=False) if placeholders else ())
    whole = [span for span, kind in find_items(output) if kind != "number"]
    for surface, kind in {(item.text, item.kind) for item in items if item.text in output}:
        pattern = _whole_words(surface) if kind == "sign" else re.escape(surface)
        matches = [match.span() for match in re.finditer(pattern, output)]
        spans.extend(_outside(matches, whole) if kind == "sign" else matches)
    return spans


def _outside(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The spans that touch none of the others, which are disjoint and in order: a sign in a placeholder is its own."""
    ends = [end for _, end in others]
    found = []
    for begin, end in spans:
        at = bisect_right(ends, begin)
        if at == len(others) or others[at][0] >= end:
            found.append((begin, end))
    return found


def _occurrences(text: str, items: Sequence[Item]) -> list[tuple[Span, str]]:
    """Occurrences of the items' texts, longest match first; an element's text matches whole words only."""
    surfaces = {item.text: item.kind for item in items}
    patterns = (
        rf"(?<!\w){re.escape(surface)}(?!\w)" if surfaces[surface] == "element" else re.escape(surface)
        for surface in sorted(surfaces, key=len, reverse=True)
    )
    return [(match.span(), match[0]) for match in re.finditer("|".join(patterns), text)] if surfaces else []


def _whole_words(surface: str) -> str:
    """A pattern of a text that never matches a part of a word."""
    before, after = (r"\b" if surface[edge].isalnum() else "" for edge in (0, -1))
    return before + re.escape(surface) + after
