"""Tags and items to place in a translation, as a tree over the words of the source."""

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fmalloc_runtime.text.document.block import Tag
from fmalloc_runtime.text.document.segment import Segment
from fmalloc_runtime.text.items import Item
from fmalloc_runtime.text.words import in_word, is_quote, words
from fmalloc_runtime.tokenizer.offsets import Span

Reach = Literal["both", "end", "begin"]
# What stands before or after a span: white space or the edge of the text, a character of a word, or another one.
Beside = Literal["space", "word", "sign"]
# Markup as written, and the part of it that a reader sees.
Part = tuple[str, str]


@dataclass
class Point:
    """Markup or an item before word `at`, at characters `begin` to `end` of the source.

    `shows`: whether a reader sees any of it. `beside`: what is before and after it in the source;
    `quoted`: whether quotation marks or brackets are.
    """

    at: int
    begin: int
    end: int
    parts: deque[Part]
    beside: tuple[Beside, Beside]
    shows: bool = False
    quoted: bool = False


@dataclass
class TagPair:
    """Tags around words [begin, end). `reach`: both tags are in this segment, or it extends to its end or beginning."""

    begin: int
    end: int
    opens: deque[Part]
    closes: deque[Part]
    reach: Reach
    children: "list[TagPair | Point]" = field(default_factory=list)


Node = TagPair | Point


def source_words(segment: Segment, taken: Collection[Item]) -> list[Span]:
    """The words of a segment that the model reads, without the items that are taken out."""
    whole = [(item.begin, item.end) for item in segment.items]
    out = {(item.begin, item.end) for item in taken}
    return [span for span in words(segment.text, whole, {tag.at for tag in segment.tags}) if span not in out]


def tree_of(segment: Segment, spans: Sequence[Span], document: str, taken: Iterable[Item]) -> list[Node]:
    """Tags and taken items of a segment as nodes over its words `spans`, in order.

    Tags without words between them form one node, so that there are few more nodes than words and items.
    """
    builder = _Builder(segment, [end for _, end in spans], document)
    events: list[tuple[int, Tag | Item]] = [(tag.at, tag) for tag in segment.tags]
    events.extend((item.begin, item) for item in taken)
    for _, event in sorted(events, key=lambda pair: (pair[0], isinstance(pair[1], Item))):
        builder.add(event)
    return builder.finish()


class _Builder:
    def __init__(self, segment: Segment, ends: Sequence[int], document: str) -> None:
        self._text = segment.text
        self._ends = ends
        self._document = document
        self._opened: list[Tag] = []
        self._levels: list[list[Node]] = [[]]
        kinds = ("open", "close")
        opening, closing = ({tag.pair for tag in segment.tags if tag.kind == kind} for kind in kinds)
        self._whole = opening & closing

    def add(self, event: Tag | Item) -> None:
        if isinstance(event, Item):
            self._point(event.begin, event.end, (event.raw, event.text), shows=True)
        elif event.kind == "point":
            self._point(event.at, event.at, self._part(event))
        elif event.kind == "open":
            self._opened.append(event)
            self._levels.append([])
        elif event.pair in self._whole:
            opened = self._opened.pop()
            self._pair(opened.at, event.at, self._part(opened), self._part(event), "both")
        else:
            self._levels.append([])
            self._levels.reverse()  # everything before is inside
            self._pair(0, event.at, ("", ""), self._part(event), "begin")

    def finish(self) -> list[Node]:
        while self._opened:
            tag = self._opened.pop()
            self._pair(tag.at, len(self._text), self._part(tag), ("", ""), "end")
        return self._levels[0]

    def _part(self, tag: Tag) -> Part:
        return self._document[tag.begin : tag.end], ""

    def _point(self, begin: int, end: int, part: Part, shows: bool = False) -> None:
        sides, quoted = beside(self._text, begin, end), self._quoted(begin, end)
        self._append(Point(self._gap(begin), begin, end, deque([part]), sides, shows, quoted))

    def _pair(self, begin: int, end: int, opening: Part, closing: Part, reach: Reach) -> None:
        children = self._levels.pop()
        pair = TagPair(self._gap(begin), self._gap(end), deque([opening]), deque([closing]), reach, children)
        if reach == "both" and pair.begin == pair.end:
            self._append(self._without_words(pair, begin, end))
        else:
            self._append(_simplified(pair))

    def _without_words(self, pair: TagPair, begin: int, end: int) -> Point:
        point = Point(pair.begin, begin, end, deque(), beside(self._text, begin, end))
        if pair.children and isinstance(inner := pair.children[0], Point):  # at most one: they are at one place
            point.parts, point.shows = inner.parts, inner.shows
        point.parts.extendleft(pair.opens)
        point.parts.extend(pair.closes)
        return point

    def _append(self, node: Node) -> None:
        level = self._levels[-1]
        before = level[-1] if level else None
        if isinstance(node, Point) and isinstance(before, Point) and before.at == node.at:
            between = self._text[before.end : node.begin]
            before.parts.extend([(between, between)] if between else [])
            before.parts.extend(node.parts)
            before.end = node.end
            before.beside = before.beside[0], node.beside[1]
            before.shows |= node.shows
            before.quoted = self._quoted(before.begin, before.end)
        else:
            level.append(node)

    def _quoted(self, begin: int, end: int) -> bool:
        return is_quote(self._text[max(begin - 1, 0) : begin], self._text[end : end + 1])

    def _gap(self, at: int) -> int:
        return bisect_right(self._ends, at)


def beside(text: str, begin: int, end: int) -> tuple[Beside, Beside]:
    """What is before and after a span of a text."""
    return _beside(text[max(begin - 1, 0) : begin]), _beside(text[end : end + 1])


def _beside(character: str) -> Beside:
    if not character or character.isspace():
        return "space"
    return "word" if in_word(character) else "sign"


def _simplified(pair: TagPair) -> TagPair:
    """Merge tags at the edges into the pair, and a pair around the same words."""
    children = pair.children
    if children and isinstance(first := children[0], Point) and first.at == pair.begin and not first.shows:
        pair.opens.extend(first.parts)
        del children[0]
    if children and isinstance(last := children[-1], Point) and last.at == pair.end and not last.shows:
        pair.closes.extendleft(reversed(last.parts))
        del children[-1]
    if len(children) != 1 or not isinstance(inner := children[0], TagPair):
        return pair
    if (inner.begin, inner.end, inner.reach) != (pair.begin, pair.end, pair.reach):
        return pair
    inner.opens.extendleft(reversed(pair.opens))
    inner.closes.extend(pair.closes)
    return inner
