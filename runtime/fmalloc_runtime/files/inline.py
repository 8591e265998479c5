"""Texts with inline codes: what the text pipeline reads of them, and their translations with the codes in place.

The pipeline reads `<g id="1">…</g>` for a pair of codes, `<x id="1"/>` for a single one, `<k id="1">…</k>` for text
that is kept and `<s id="1">` where no sentence goes on, and gives each back once and well nested.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from fmalloc_runtime.files.document import Source
from fmalloc_runtime.text.document.markup import pairs
from fmalloc_runtime.text.document.scanner import scan

Kind = Literal["text", "open", "close", "point", "kept"]
_CODE = re.compile(
    r'<([gs]) id="(\d{1,6})">|</([gs])>|<[xs] id="(\d{1,6})"/>|<k id="(\d{1,6})" translate="no">[^<]*</k>'
)
# Tags of HTML that are never closed.
_SINGLE = frozenset({"br", "hr", "img", "input", "wbr"})


class Piece(NamedTuple):
    """A stretch of text as a reader sees it, or a code as the file writes it.

    `pair`: equal for an opening and its closing code. `shown`: of what is kept, what a reader sees of it.
    `segment`: whether no sentence goes on across the code.
    """

    kind: Kind
    raw: str
    pair: object = None
    shown: str = ""
    segment: bool = False


@dataclass(frozen=True)
class Marked:
    """What the pipeline reads of a text, and the codes by their number."""

    source: Source
    codes: tuple[Piece, ...]

    def pieces(self, translation: str) -> list[Piece] | None:
        """The translation as pieces, each code once; None if a code is missing or doubled."""
        if not self.codes:
            return [Piece("text", translation)]
        found: list[Piece] = []
        opened: list[Piece] = []
        at = 0
        for match in _CODE.finditer(translation):
            _append(found, translation[at : match.start()])
            at = match.end()
            if match[3]:
                if not opened:
                    return None
                found.append(opened.pop())
                continue
            number = int(match[2] or match[4] or match[5])
            if number >= len(self.codes):
                return None
            found.append(self.codes[number])
            if match[2]:
                opened.append(self._closings[self.codes[number].pair])
        _append(found, translation[at:])
        return _in_order(found) if sorted(self._keys(found)) == sorted(self._keys(self.codes)) else None

    @cached_property
    def _closings(self) -> dict[object, Piece]:
        return {code.pair: code for code in self.codes if code.kind == "close"}

    def _keys(self, pieces: Iterable[Piece]) -> list[str]:
        return [f"{piece.kind} {piece.raw}" for piece in pieces if piece.kind != "text"]


def marked(pieces: Sequence[Piece]) -> Marked:
    """What the pipeline reads; codes that are not well nested are single ones."""
    nested = _nested(pieces)
    codes: list[Piece] = []
    written: list[str] = []
    for index, piece in enumerate(pieces):
        number = len(codes)
        if piece.kind == "text":
            written.append(_escaped(piece.raw))
            continue
        codes.append(piece)
        name = "s" if piece.segment else "g"
        if piece.kind == "kept":
            written.append(f'<k id="{number}" translate="no">{_escaped(piece.shown)}</k>')
        elif index not in nested:
            written.append(f'<{"s" if piece.segment else "x"} id="{number}"/>')
        elif piece.kind == "open":
            written.append(f'<{name} id="{number}">')
        else:
            written.append(f"</{name}>")
    if not codes:
        return Marked(Source("".join(piece.raw for piece in pieces), "text"), ())
    return Marked(Source("".join(written), "xml"), tuple(codes))


def pieces_of(text: str, codes: re.Pattern[str] | None = None, read: Callable[[str], str] = str) -> list[Piece]:
    """Text in which tags, and what else `codes` match, are codes; `read`: what a reader sees of the rest.

    What only looks like an opening tag, such as `<no selection>`, is text.
    """
    tokens = scan(text, html=True)
    partners = pairs(tokens, is_html=True)
    known = _SINGLE.union(token.name for token in tokens if token.kind == "close")
    found: list[Piece] = []
    for index, token in enumerate(tokens):
        raw = text[token.begin : token.end]
        alone = token.kind == "open" and token.name not in known and "=" not in raw
        if token.kind == "text" or (alone and not (codes and codes.fullmatch(raw))):
            found.extend(_with_codes(raw, codes, read))
        elif index in partners:
            key = min(index, partners[index])
            found.append(Piece("open" if key == index else "close", raw, key))
        else:
            found.append(Piece("point", raw))
    return found


def tagged(text: str, escape: Callable[[str], str], read: Callable[[str], str] = str) -> list[Piece]:
    """Text of an element in which tags are written as text, by `escape`, for whoever shows it."""
    place = object()  # pairs of one text are not those of another
    return [
        piece if piece.kind == "text" else piece._replace(raw=escape(piece.raw), pair=(place, piece.pair))
        for piece in pieces_of(text, read=read)
    ]


def strung(found: Marked, translation: str, codes: re.Pattern[str] | None = None) -> str | None:
    """The translation of a text that `pieces_of` read; None if what the model wrote makes other codes of it."""
    pieces = found.pieces(translation)
    if pieces is None:
        return None
    written = joined(pieces, str)
    again = sorted(piece.raw for piece in pieces_of(written, codes) if piece.kind != "text")
    return written if again == sorted(piece.raw for piece in pieces if piece.kind != "text") else None


def joined(pieces: Iterable[Piece], write: Callable[[str], str]) -> str:
    """Pieces as the file writes them: codes as they are, text by `write`."""
    return "".join(write(piece.raw) if piece.kind == "text" else piece.raw for piece in pieces)


def _with_codes(text: str, codes: re.Pattern[str] | None, read: Callable[[str], str]) -> list[Piece]:
    found: list[Piece] = []
    at = 0
    for match in codes.finditer(text) if codes else ():
        found += [Piece("text", read(text[at : match.start()])), Piece("point", match[0])]
        at = match.end()
    return [piece for piece in (*found, Piece("text", read(text[at:]))) if piece.raw]


def _nested(pieces: Sequence[Piece]) -> set[int]:
    """Indices of the codes of well nested pairs; of two pairs that cross, those of the outer one."""
    opened: list[int] = []
    waiting: set[object] = set()
    found: set[int] = set()
    for index, piece in enumerate(pieces):
        if piece.kind == "open":
            opened.append(index)
            waiting.add(piece.pair)
        elif piece.kind == "close" and piece.pair in waiting:
            while pieces[opened[-1]].pair != piece.pair:
                waiting.discard(pieces[opened.pop()].pair)
            waiting.discard(piece.pair)
            found |= {opened.pop(), index}
    return found


def _in_order(pieces: list[Piece]) -> list[Piece]:
    """No code that closes comes before the one that opens: the two change places."""
    first: dict[object, int] = {}
    for index, piece in enumerate(pieces):
        if piece.kind not in ("open", "close") or piece.pair is None:
            continue
        if piece.kind == "open" and piece.pair in first:
            other = first[piece.pair]
            pieces[index], pieces[other] = pieces[other], piece
        first[piece.pair] = index
    return pieces


def _append(found: list[Piece], written: str) -> None:
    if written:
        found.append(Piece("text", written.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
