"""Items that a translation must preserve: placeholders, addresses, paths, numbers, and signs (found in signs.py)."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fmalloc_runtime.tokenizer.offsets import Span

Kind = Literal["placeholder", "address", "number", "element", "sign"]

# A longer ICU argument is taken as text in braces.
_LONGEST_ARGUMENT = 4_000
_COMPLEX = re.compile(
    r"\{\s*[\w.-]+\s*,\s*(?:plural|select|selectordinal|number|date|time|choice|duration|spellout|ordinal)\b"
)
_BRACE = re.compile(r"[{}]")
_PLACEHOLDER = r"""
    (?P<placeholder>
      \{\{[^{}\n]{0,200}\}\} | \{%[^{}\n]{0,200}%\}            # {{var}}, {% tag %}
    | [$%\#]\{[^{}\n]{0,200}\}                                 # ${var}, %{name}, #{name}
    | \{[\w.\-\[\]!:<>^+,\#$@/]{0,100}\}                       # {name}, {0}, {0:.2f}, {}
    | %\([\w. -]{1,100}\)[\#0\-+]*\d{0,9}(?:\.\d{1,9})?[a-zA-Z] # %(name)s
    | %%
    | (?<![\d%])(?<!\d[ \u00a0\u202f])%(?:\d{1,3}\$)?[\#0\-+']*(?:\*|\d{1,9})?(?:\.(?:\*|\d{1,9}))?
      (?:hh|h|ll|l|L|q|j|z|t)?(?:[diouxXeEfFgGaAcpn@CSYmHMBIyTZ](?![^\W\d_])|[sdu])  # %s, %1$s, %.2f, %Y
    | (?<![\w%])%[Ln]?\d{1,2}(?![\w%])                          # %1, %L1
    | %[A-Z_][A-Z0-9_]{1,50}%                                  # %APPDATA%
    | &(?:[A-Za-z][\w.-]{0,50}|\#\d{1,7}|\#[xX][0-9A-Fa-f]{1,6});
    )"""
_ADDRESS = r"""
    (?P<address>
      (?<![\w])(?:[A-Za-z][A-Za-z+.-]{1,15}://|mailto:|www\.(?=\w))[^\s<>"„“”«»]{0,2000}[\w/=\#&%+~@$*-]
    | (?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}
    | (?<!\w)[A-Za-z]:\\(?:[\w.$%@+~-]+\\?){0,50}
    | (?<![\w/.~<>:@+-])(?:(?:~|\.{1,2})/|/(?=[\w.@+-]+/))(?:[\w.@+-]+/)*[\w.@+-]*(?<![.])
    )"""
# Not a keycap, which is a sign.
_NUMBER = r"(?P<number>(?<!\w)(?<![^\W\d_]-)\d++(?:[.,:'’\u202f\u00a0]\d++)*+(?![\ufe0f\u20e3]))"
_PATTERN = re.compile(f"{_ADDRESS}|{_PLACEHOLDER}|{_NUMBER}", re.VERBOSE)
_PLACEHOLDERS = re.compile(_PLACEHOLDER, re.VERBOSE)
# Every placeholder has one of these.
_SIGNS = "%{&"
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Item:
    """A span of text to preserve; `raw` is its source in the document, `text` what a reader sees."""

    begin: int
    end: int
    kind: Kind
    text: str
    raw: str


def find_items(text: str, edges: Iterable[int] = ()) -> list[tuple[Span, Kind]]:
    """Disjoint items from left to right. An ICU argument with a format is one item, braces included.

    `edges`: places that only ICU arguments may span.
    """
    found: list[tuple[Span, Kind]] = []
    at = 0
    for span in _complex_arguments(text):
        found.extend(_simple_items(text, at, span[0], edges))
        found.append((span, "placeholder"))
        at = span[1]
    found.extend(_simple_items(text, at, len(text), edges))
    return found


def find_again(source: str, items: Sequence[Item], output: str) -> list[tuple[Span, Item]] | None:
    """The items except numbers, with their spans in an output; None unless it has each as often as the source.

    Numbers are compared by their digits, whatever their grouping. Placeholders that are not in the source are errors.
    """
    numbers = [item.text for item in items if item.kind == "number"]
    if numbers and not _same_numbers(numbers, _numbers(output)):
        return None
    if invents(source, output):
        return None
    others = [item for item in items if item.kind != "number"]
    if any(output.count(item.text) != source.count(item.text) for item in others if item.kind != "element"):
        return None
    there, here = _occurrences(source, others), _occurrences(output, others)
    waiting: dict[str, list[Item]] = {}
    for item in reversed(others):
        waiting.setdefault(item.text, []).append(item)
    if len(there) != len(others) or Counter(text for _, text in there) != Counter(text for _, text in here):
        return None  # an item's text occurs elsewhere in the source, too: the two cannot be told apart
    return [(span, waiting[text].pop()) for span, text in here]


def invents(source: str, output: str) -> bool:
    """Whether the output has a placeholder that is not in the source."""
    if not any(sign in output for sign in _SIGNS):
        return False
    return any(output[slice(*span)] not in source for span in _placeholders(output))


def foreign(items: Sequence[Item], output: str, *, placeholders: bool) -> list[Span]:
    """Spans that a translation without the items must not have: the items, and with `placeholders` all placeholders."""
    numbers = {_digits(item.text) for item in items if item.kind == "number"}
    spans = [span for span, kind in find_items(output) if kind == "number" and _digits(output[slice(*span)]) in numbers]
    spans.extend(_placeholders(output) if placeholders else ())
    for surface, kind in {(item.text, item.kind) for item in items if item.kind != "number" and item.text in output}:
        pattern = _whole_words(surface) if kind == "sign" else re.escape(surface)
        spans.extend(match.span() for match in re.finditer(pattern, output))
    return spans


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


def _placeholders(text: str) -> list[Span]:
    """All that look like placeholders, even inside an address."""
    return [*_complex_arguments(text), *(match.span() for match in _PLACEHOLDERS.finditer(text))]


def _simple_items(text: str, begin: int, end: int, edges: Iterable[int]) -> Iterable[tuple[Span, Kind]]:
    for stop in (*(edge for edge in edges if begin < edge < end), end):
        for match in _PATTERN.finditer(text, begin, stop):
            if match.end() > match.start():
                kind: Kind = match.lastgroup  # type: ignore[assignment]
                yield match.span(), kind
        begin = stop


def _complex_arguments(text: str) -> list[Span]:
    spans: list[Span] = []
    closing: dict[int, int] | None = None
    at = 0
    while match := _COMPLEX.search(text, at):
        begin, at = match.span()
        closing = _closing_braces(text) if closing is None else closing
        if begin < (end := closing.get(begin, 0)) <= begin + _LONGEST_ARGUMENT:
            spans.append((begin, end))
            at = end
    return spans


def _closing_braces(text: str) -> dict[int, int]:
    """For each opening brace, the end of the matching one."""
    closing, opened = {}, []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif opened:
            closing[opened.pop()] = match.end()
    return closing


def _numbers(text: str) -> list[str]:
    return [text[slice(*span)] for span, kind in find_items(text) if kind == "number"]


def _same_numbers(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Compare whole numbers, or runs of digits in case one side groups thousands with spaces."""
    return any(
        not (expected := Counter(key(wanted))) - (actual := Counter(key(found)))
        and all(actual[number] == count for number, count in expected.items())
        for key in (_whole, _runs)
    )


def _whole(numbers: Sequence[str]) -> list[str]:
    return [_digits(number) for number in numbers]


def _runs(numbers: Sequence[str]) -> list[str]:
    return [run for number in numbers for run in _DIGITS.findall(number)]


def _digits(number: str) -> str:
    return "".join(_DIGITS.findall(number))
