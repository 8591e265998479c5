"""A block of text with its tags and kept elements."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fmalloc_runtime.text.items import Item, find_items
from fmalloc_runtime.text.translation import Format

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

    `kept`: elements that are not translated.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    tags: tuple[Tag, ...] = ()
    kept: tuple[Item, ...] = ()


def plain_block(text: str) -> Block:
    """A text without markup."""
    return Block(text, range(len(text)), range(1, len(text) + 1))


def items_of(block: Block, document: str, protect: bool) -> list[Item]:
    """Disjoint items of a block from left to right; kept elements win over what looks like an item.

    An item may contain whole elements, kept ones as well, but never only one tag of a pair.
    """
    if not protect:
        return list(block.kept)
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
