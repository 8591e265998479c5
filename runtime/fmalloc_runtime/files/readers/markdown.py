"""Markdown: paragraphs, headings, list items and table cells are translated; code, links' addresses and HTML stay.

markdown-it-py says what is text; where it stands is found again, since the file itself is to stay as it is.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from fmalloc_runtime.files.document import Document, Unit, Wanted, kept_units
from fmalloc_runtime.files.encoding import decoded
from fmalloc_runtime.files.inline import Marked, Piece, marked
from fmalloc_runtime.files.wrapping import wrapped
from fmalloc_shared.commands.command import needs

_FRONT = re.compile(r"(?:---[ \t]*\n.*?\n(?:---|\.\.\.)|\+\+\+[ \t]*\n.*?\n\+\+\+)[ \t]*(?:\n|\Z)", re.DOTALL)
_TASK = re.compile(r"\[[ xX]\] ")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_LABEL = r"\[(?:[^\[\]\\]|\\.|\[[^\[\]]*\])*\]"
_ADDRESS = (
    r"""\(\s*(?:<[^<>\n]*>|(?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*)"""
    r"""(?:\s+(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\)))?\s*\)"""
)
_END = re.compile(rf"\](?:{_ADDRESS}|{_LABEL})?", re.DOTALL)
_IMAGE = re.compile(rf"!{_LABEL}(?:{_ADDRESS}|{_LABEL})?", re.DOTALL)
_AUTOLINK = re.compile(r"<[^<>\s]+>")
_ENTITY = re.compile(r"&(?:#\d{1,8}|#[xX][0-9A-Fa-f]{1,8}|[A-Za-z][A-Za-z0-9]{0,40});")
_SOFT = re.compile(r"[ \t]*\n[ \t]*")
_HTML_NAME = re.compile(r"<(/?)([A-Za-z][\w-]*)")
# No line may begin with what would begin a block there.
_BLOCK = re.compile(r"[-+*#>=~|:]|\d{1,9}[.)]")
_SPECIAL = re.compile(r"[\\`*\[\]<]|_(?!\w)|(?<!\w)_|&(?=[#\w]+;)|~(?=~)")


class _LostError(Exception):
    """What the parser found is not where it should be."""


def read(data: bytes, where: str, wanted: Wanted) -> Document:
    """A Markdown file: CommonMark with tables and strikethrough; front matter stays."""
    needs("markdown_it", extra="files")
    from markdown_it import MarkdownIt

    text, encode = decoded(data, where)
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    reader = _Reader(text, parser)
    return Document(text, kept_units(list(reader.units()), wanted.limits, where), encode)


@dataclass
class _Group:
    """Lines of a block without a hard break between them: their spans in the file, and what is in them."""

    spans: list[tuple[int, int]]
    pieces: list[Piece]


class _Reader:
    def __init__(self, text: str, parser: Any) -> None:
        self._text, self._parser = text, parser
        self._references: dict[str, Any] = {}
        front = _FRONT.match(text)
        self._first = text.count("\n", 0, front.end()) if front else 0
        self._lines: list[tuple[int, int]] = []
        at = 0
        for line in text.split("\n"):
            self._lines.append((at, at + len(line)))
            at += len(line) + 1
        self._cells = (-1, 0)  # the line of the last cell, and where it ended

    def units(self) -> Iterator[Unit]:
        begin = self._lines[self._first][0] if self._first < len(self._lines) else len(self._text)
        tokens = self._parser.parse(self._text[begin:].replace("\r\n", "\n"), self._references)
        place, cell = None, False
        for token in tokens:
            place = token.map or place
            cell = token.type in ("th_open", "td_open") or (cell and token.type == "inline")
            if token.type == "inline" and token.content.strip() and place is not None:
                try:
                    spans = self._spans(token.content, place[0] + self._first, place[1] + self._first, cell)
                    for group in self._groups(token, spans):
                        yield self._unit(group, cell)
                except _LostError:
                    continue  # it stays as it is

    def _unit(self, group: _Group, cell: bool) -> Unit:
        found = marked(group.pieces)
        ends = [self._text[before[1] : after[0]] for before, after in pairwise(group.spans)]
        lengths = [end - begin for begin, end in group.spans]
        write = partial(self._write, found, lengths, ends, cell)
        return Unit(found.source, group.spans[0][0], group.spans[-1][1], write)

    def _spans(self, content: str, first: int, last: int, cell: bool) -> list[tuple[int, int]]:
        """Where the lines of a block's content are in the file."""
        found: list[tuple[int, int]] = []
        line = first
        for part in content.split("\n"):
            wanted = part.strip()
            while line < last:
                begin, end = self._lines[line]
                if cell:
                    start = max(begin, self._cells[1]) if self._cells[0] == line else begin
                    match = re.compile(re.escape(wanted).replace(r"\|", r"\\?\|")).search(self._text, start, end)
                    at, stop = match.span() if match else (-1, -1)
                    self._cells = (line, stop) if match else self._cells
                else:
                    at = self._text.rfind(wanted, begin, end)
                    stop = at + len(wanted)
                    line += 1
                if at >= 0:
                    found.append((at, stop))
                    break
                if cell:
                    raise _LostError
            else:
                raise _LostError
        return found

    def _groups(self, token: Any, spans: Sequence[tuple[int, int]]) -> Iterator[_Group]:
        """The block's text with its codes, apart at hard breaks."""
        raw = "\n".join(part.strip() for part in token.content.split("\n"))
        walker = _Walker(raw)
        pieces: list[Piece] = []
        line = first = 0
        for child in token.children:
            if child.type == "hardbreak":
                line += 1
                walker.skip_break()
                yield _Group(list(spans[first:line]), pieces)
                pieces, first = [], line
            else:
                line += child.type == "softbreak"
                pieces.extend(walker.take(child))
        yield _Group(list(spans[first:]), pieces)

    def _write(self, found: Marked, lengths: list[int], ends: list[str], cell: bool, translation: str) -> str | None:
        """The translation, with as few characters escaped as leave the codes what they are; None if none do."""
        pieces = found.pieces(translation.replace("\n", " "))
        if pieces is None:
            return None
        for escape in (str, _escaped):
            lines = wrapped(pieces, lengths, escape, _BLOCK)
            while not lines[-1] and len(lines) > 1:
                lines.pop()
            if escape is _escaped and _BLOCK.match(lines[0]):
                lines[0] = re.sub(r"^(\d*)(.)", r"\1\\\2", lines[0])
            if self._shape(lines) == _shape_of(pieces):
                written = "".join(line + end for line, end in zip(lines, [*ends[: len(lines) - 1], ""], strict=True))
                return re.sub(r"(?<!\\)\|", r"\\|", written) if cell else written
        return None

    def _shape(self, lines: Sequence[str]) -> tuple[list[str], str] | None:
        """Codes and text of a paragraph of these lines; None if they are not one."""
        tokens = self._parser.parse("\n".join(lines), dict(self._references))
        if [token.type for token in tokens] != ["paragraph_open", "inline", "paragraph_close"]:
            return None
        walker = _Walker(tokens[1].content)
        try:
            pieces = [piece for child in tokens[1].children for piece in walker.take(child)]
        except _LostError:
            return None
        return _shape_of(pieces)


def _shape_of(pieces: Sequence[Piece]) -> tuple[list[str], str]:
    codes = [piece.raw for piece in pieces if piece.kind != "text"]
    return codes, " ".join("".join(piece.raw if piece.kind == "text" else " " for piece in pieces).split())


class _Walker:
    """Goes through the raw text of a block beside what the parser made of it."""

    def __init__(self, raw: str) -> None:
        self._raw = raw
        self._at = 0
        self._opened: list[tuple[int, str]] = []
        self._html: dict[str, list[int]] = {}
        self._auto = False

    def take(self, child: Any) -> list[Piece]:
        """The pieces of a token."""
        begin, kind = self._at, child.type
        if self._auto:
            self._auto = kind != "link_close"
            return []
        if kind == "text":
            return self._text(child.content)
        if kind == "softbreak":
            self._match(_SOFT)
            return [Piece("text", " ")]
        if kind == "code_inline":
            return [Piece("kept", self._match(_CODE), shown=child.content)]
        if kind == "image":
            return [Piece("point", self._match(_IMAGE))]
        if kind == "html_inline":
            return [self._tag(self._literal(child.content))]
        if kind == "link_open" and child.markup == "autolink":
            self._auto = True
            return [Piece("point", self._match(_AUTOLINK))]
        if kind.endswith("_open"):
            raw = self._literal("[" if kind == "link_open" else child.markup)
            self._opened.append((begin, kind))
            return [Piece("open", raw, begin)]
        if kind.endswith("_close") and self._opened:
            opened, _ = self._opened.pop()
            raw = self._match(_END) if kind == "link_close" else self._literal(child.markup)
            if kind == "link_close" and raw in ("]", "][]"):  # a reference by its text, which changes
                raw = f"][{self._raw[opened + 1 : begin]}]"
            elif kind == "link_close" and raw == "[]":
                raise _LostError
            return [Piece("close", raw, opened)]
        raise _LostError

    def skip_break(self) -> None:
        """Go behind a hard break."""
        at = self._raw.index("\n", self._at) if "\n" in self._raw[self._at :] else -1
        if at < 0 or self._raw[self._at : at].strip(" \\"):
            raise _LostError
        self._at = at + 1

    def _text(self, content: str) -> list[Piece]:
        begin = self._at
        if begin == 0 and (task := _TASK.match(content)):
            self._at = task.end()
            return [Piece("point", task[0]), *self._text(content[task.end() :])]
        at = 0
        while at < len(content):
            raw, wanted = self._raw[self._at : self._at + 1], content[at]
            if raw == "\\" and self._raw[self._at + 1 : self._at + 2] == wanted and wanted in _PUNCTUATION:
                self._at, at = self._at + 2, at + 1
            elif raw == "&" and (entity := _ENTITY.match(self._raw, self._at)) and _is(entity[0], content, at):
                self._at, at = entity.end(), at + len(html.unescape(entity[0]))
            elif raw == wanted:
                self._at, at = self._at + 1, at + 1
            else:
                raise _LostError
        return [Piece("text", content)] if content else []

    def _tag(self, raw: str) -> Piece:
        match = _HTML_NAME.match(raw)
        if match is None or raw.endswith("/>"):
            return Piece("point", raw)
        opened = self._html.setdefault(match[2].lower(), [])
        if not match[1]:
            opened.append(self._at)
            return Piece("open", raw, ("html", self._at))
        return Piece("close", raw, ("html", opened.pop())) if opened else Piece("point", raw)

    def _literal(self, wanted: str) -> str:
        if not self._raw.startswith(wanted, self._at):
            raise _LostError
        self._at += len(wanted)
        return wanted

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._raw, self._at)
        if match is None:
            raise _LostError
        self._at = match.end()
        return match[0]


_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def _is(entity: str, content: str, at: int) -> bool:
    shown = html.unescape(entity)
    return shown != entity and content.startswith(shown, at)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", text)
