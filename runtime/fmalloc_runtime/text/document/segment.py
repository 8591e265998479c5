"""A segment: a sentence of a document with its tags and items."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fmalloc_runtime.text.document.block import Block, Tag, items_of
from fmalloc_runtime.text.document.sentences import fitting, sentences
from fmalloc_runtime.text.items import Item
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_runtime.text.words import has_letters
from fmalloc_runtime.tokenizer.offsets import Span


@dataclass(frozen=True)
class Segment:
    """Characters `begin` to `end` of a document, to be replaced by their translation.

    Positions of tags and items are those in `text`. The partner of a tag may be in another segment.
    `lead` and `trail`: whitespace of the document between the text and the first or last tag.
    """

    text: str
    begin: int
    end: int
    tags: tuple[Tag, ...] = ()
    items: tuple[Item, ...] = ()
    lead: str = ""
    trail: str = ""

    @property
    def has_text(self) -> bool:
        """Whether there are letters outside the items."""
        return _has_letters_outside(self.text, 0, len(self.text), [(item.begin, item.end) for item in self.items])


def segments_of(
    block: Block,
    document: str,
    language: str,
    options: TextOptions,
    *,
    longest: int,
    fits: Callable[[Segment], bool],
    knows: Callable[[str], bool],
) -> list[Segment]:
    """The segments of a block to translate, in order.

    `fits`: whether a segment is short enough for the model, which none is with more than `longest` characters outside
    its items; `knows`: whether its vocabulary has all of a text.

    Without segments that have no letters outside their items, or that do not fit and cannot be split.
    """
    items = items_of(block, document, knows) if options.protect else list(block.kept)
    whole = [(item.begin, item.end) for item in items]

    def inside(begin: int, end: int) -> slice:
        return slice(bisect_left(whole, (begin, 0)), bisect_left(whole, (end, 0)))

    def segment(span: Span) -> Segment:
        begin, end = span
        moved = tuple(
            Item(item.begin - begin, item.end - begin, item.kind, item.text, item.raw)
            for item in items[inside(begin, end)]
        )
        return Segment(block.text[begin:end], block.starts[begin], block.ends[end - 1], (), moved)

    def done(span: Span) -> bool:
        begin, end = span
        taken = whole[inside(begin, end)]
        if end - begin - sum(last - first for first, last in taken) > longest:
            return not _has_letters_outside(block.text, begin, end, taken)
        piece = segment(span)
        return not piece.has_text or fits(piece)

    found = sentences(block.text, language, options.splitting, whole)
    spans = [part for span in found for part in fitting(block.text, span, whole, done)]
    segments = [segment(span) for span in spans]
    if tags := _outside(block.tags, whole):
        segments = _with_tags(segments, spans, tags, document)
    return [piece for piece in segments if piece.has_text and fits(piece)]


def _has_letters_outside(text: str, begin: int, end: int, spans: Iterable[Span]) -> bool:
    for first, last in spans:
        if has_letters(text[begin:first]):
            return True
        begin = last
    return has_letters(text[begin:end])


def _outside(tags: Sequence[Tag], whole: Sequence[Span]) -> list[Tag]:
    """Tags outside the items."""
    inside = []
    for tag in tags:
        before = bisect_left(whole, (tag.at, 0)) - 1
        if before < 0 or whole[before][1] <= tag.at:
            inside.append(tag)
    return inside


def _with_tags(segments: Sequence[Segment], spans: Sequence[Span], tags: Sequence[Tag], document: str) -> list[Segment]:
    """Give each segment the tags inside it, and those at its edges whose partner is inside.

    All others stay in place between the segments.
    """
    places = [tag.at for tag in tags]
    given = []
    before = 0
    for index, (segment, (begin, end)) in enumerate(zip(segments, spans, strict=True)):
        following = spans[index + 1][0] if index + 1 < len(spans) else places[-1]
        first, last = bisect_right(places, begin), bisect_left(places, end)
        stop = max(bisect_right(places, following), last)
        inside = {tag.pair for tag in tags[first:last] if tag.pair >= 0}
        heads = [at for at in range(before, first) if tags[at].kind == "open" and tags[at].pair in inside]
        tails = [at for at in range(last, stop) if tags[at].kind == "close" and tags[at].pair in inside]
        own_first, own_last = min(heads, default=first), max(tails, default=last - 1) + 1
        given.append(_with(segment, begin, tags[own_first:first], tags[first:last], tags[last:own_last], document))
        before = own_last
    return given


def _with(
    segment: Segment, begin: int, heads: Sequence[Tag], inside: Sequence[Tag], tails: Sequence[Tag], document: str
) -> Segment:
    moved = (
        *(replace(tag, at=0) for tag in heads),
        *(replace(tag, at=tag.at - begin) for tag in inside),
        *(replace(tag, at=len(segment.text)) for tag in tails),
    )
    first = heads[0].begin if heads else segment.begin
    last = tails[-1].end if tails else segment.end
    return replace(
        segment,
        begin=first,
        end=last,
        tags=moved,
        lead=_between(document, first, segment.begin, heads),
        trail=_between(document, segment.end, last, tails),
    )


def _between(document: str, begin: int, end: int, tags: Iterable[Tag]) -> str:
    """The text of a range of the document without the tags."""
    pieces = []
    for tag in tags:
        pieces.append(document[begin : tag.begin] if begin < tag.begin else "")
        begin = max(begin, tag.end)
    return "".join(pieces) + document[begin:end]
