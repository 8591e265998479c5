"""A block of text with its tags and kept elements."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from fmalloc_runtime.text.items import Item, find_items
from fmalloc_runtime.text.signs import find_signs
from fmalloc_runtime.text.translation import Format
from fmalloc_runtime.tokenizer.offsets import Span
from fmalloc_shared.invisible import DIRECTED, visible_places

TagKind = Literal["open", "close", "point"]
# Replaces a kept element without a short text.
OBJECT = "\ufffc"


@dataclass(frozen=True)
class Tag:
    """Markup before character `at` of a block's text, at `begin` to `end` of the document.

    `pair` is the same number for an opening tag and its closing tag; a point has none.
    """

    kind: TagKind
    at: int
    begin: int
    end: int
    pair: int = -1


@dataclass(frozen=True)
class Block:
    """`text` is what a reader sees; its character i is at `starts[i]` to `ends[i]` of the document.

    `kept`: elements that are not translated. `directed`: spans of the text that have their own direction, each with the
    span of the document that includes the characters which say so.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    tags: tuple[Tag, ...] = ()
    kept: tuple[Item, ...] = ()
    directed: Mapping[Span, Span] = field(default_factory=dict)


def plain_block(text: str) -> Block:
    """A text without markup."""
    return visible(Block(text, range(len(text)), range(1, len(text) + 1)))


def visible(block: Block) -> Block:
    """The block without the characters that show nothing; they stay in the document until it is translated."""
    places = visible_places(block.text)
    if places is None:
        return block
    moved = [0] * (len(block.text) + 1)  # where each place of the text is afterwards
    for at in places:
        moved[at + 1] = 1
    for at in range(len(block.text)):
        moved[at + 1] += moved[at]
    text = "".join([block.text[at] for at in places])
    kept = [replace(item, begin=moved[item.begin], end=moved[item.end]) for item in block.kept]
    return Block(
        text,
        [block.starts[at] for at in places],
        [block.ends[at] for at in places],
        tuple(replace(tag, at=moved[tag.at]) for tag in block.tags),
        tuple(replace(item, text=text[item.begin : item.end]) for item in kept),
        _directed(block, moved),
    )


def _directed(block: Block, moved: Sequence[int]) -> dict[Span, Span]:
    """Spans between a character that opens a direction and the one that closes it; the outer one of equal spans."""
    opened: list[int] = []
    found: dict[Span, Span] = {}
    for at, character in enumerate(block.text):
        if character in DIRECTED:
            opened.append(at)
        elif opened and character == DIRECTED[block.text[opened[-1]]]:
            begin = opened.pop()
            found[moved[begin], moved[at]] = (block.starts[begin], block.ends[at])
    return found


def items_of(block: Block, document: str, knows: Callable[[str], bool]) -> list[Item]:
    """Disjoint items of a block from left to right; kept elements win over what looks like an item.

    An item may contain whole elements, kept ones as well, but never only one tag of a pair. `knows`: whether the
    vocabulary has all of a text; what it lacks is an item.
    """
    items = _items(block, document)
    edges = {tag.at for tag in block.tags}
    for begin, end in find_signs(block.text, knows, [(item.begin, item.end) for item in items], edges):
        raw = document[block.starts[begin] : block.ends[end - 1]]
        items.append(Item(begin, end, "sign", block.text[begin:end], raw))
    items.sort(key=lambda item: item.begin)
    return [_with_direction(item, block, document) for item in items] if block.directed else items


def _with_direction(item: Item, block: Block, document: str) -> Item:
    """The item with the characters around it that give it its own direction, unless there is a tag between."""
    if (span := block.directed.get((item.begin, item.end))) is None:
        return item
    first, last = bisect_left(block.tags, item.begin, key=_place), bisect_right(block.tags, item.end, key=_place)
    apart = any(tag.at in (item.begin, item.end) and span[0] <= tag.begin < span[1] for tag in block.tags[first:last])
    return item if apart else replace(item, raw=document[slice(*span)])


def _place(tag: Tag) -> int:
    return tag.at


def _items(block: Block, document: str) -> list[Item]:
    edges = sorted({tag.at for tag in block.tags} | {at for item in block.kept for at in (item.begin, item.end)})
    items: list[Item] = []
    kept = list(block.kept)
    begins, ends = [item.begin for item in kept], [item.end for item in kept]
    inner: set[Item] = set()  # kept elements inside an item
    places = [tag.at for tag in block.tags]
    for (begin, end), kind in find_items(block.text, edges):
        covered = kept[bisect_right(ends, begin) : bisect_left(begins, end)]
        inside = block.tags[bisect_right(places, begin) : bisect_left(places, end)]
        if _cuts_pair(inside) or any(_reaches_out(item, begin, end) for item in (*covered[:1], *covered[-1:])):
            continue
        inner.update(covered)
        raw = document[block.starts[begin] : block.ends[end - 1]]
        items.append(Item(begin, end, kind, block.text[begin:end], raw))
    items.extend(item for item in kept if item not in inner)
    return sorted(items, key=lambda item: item.begin)


def escape(text: str, kind: Format, space: str = "\u00a0") -> str:
    """Text as it is written in a document; `space` is written for a non-breaking space."""
    if kind == "text":
        return text
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("\u00a0", space)


def _reaches_out(item: Item, begin: int, end: int) -> bool:
    """Whether a kept element is not inside a span, or is all of it."""
    return item.begin < begin or end < item.end or (item.begin, item.end) == (begin, end)


def _cuts_pair(inside: Sequence[Tag]) -> bool:
    opened = {tag.pair for tag in inside if tag.kind == "open"}
    return opened != {tag.pair for tag in inside if tag.kind == "close"}
