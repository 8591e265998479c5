"""DOCX: the text of paragraphs is translated, with its formats, links and fields; all other parts stay.

The archive is packed anew: each of its parts is byte for byte what it was, but those with text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from zipfile import BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

from fmalloc_runtime.files.document import (
    Document,
    FileFormatError,
    FileTooLargeError,
    Limits,
    Unit,
    Wanted,
    kept_units,
)
from fmalloc_runtime.files.elements import Element, escaped, parse
from fmalloc_runtime.files.encoding import decoded_xml
from fmalloc_runtime.files.inline import Marked, Piece, marked

_TEXT = re.compile(r"word/(?:document|header\d*|footer\d*|footnotes|endnotes)\.xml")
_TYPES = "[Content_Types].xml"
_MAIN = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
_MOST_PARTS = 5_000
# Deflate packs text some 5 to 20 times, and at most 1,032 times.
_MOST_RATIO, _RATIO_FROM = 200, 2**20
# Around runs, with text in it; and what says how a word was checked, which a translation is not.
_AROUND = frozenset({"hyperlink", "ins", "smartTag", "moveTo", "sdt", "dir", "bdo"})
_DROPPED = frozenset({"proofErr", "lastRenderedPageBreak"})
_BREAKS = frozenset({"tab", "br", "cr", "ptab"})
_NO_FORMAT = re.compile(r"<w:(?:lang|noProof)\b[^>]*/>|\s+(?=<)")
_SEPARATOR = "\0"


def read(data: bytes, where: str, wanted: Wanted) -> Document:
    """A document of Word; those with macros or a password, and archives that are a trap, are refused."""
    parts = _parts(data, where, wanted.limits)
    names = [name for name in parts if _TEXT.fullmatch(name)]
    wanted.limits.check_text(sum(len(parts[name][1]) for name in names), where)
    texts: list[str] = []
    encoders: list[Callable[[str], bytes]] = []
    units: list[Unit] = []
    offset = 0
    for name in names:
        text, encode = decoded_xml(parts[name][1], f"{where}: {name}")
        root = parse(text, f"{where}: {name}")
        if not root.tag.startswith("w:"):
            raise FileFormatError(f"{where}: {name}: <{root.tag[:40]}>: expected WordprocessingML with the prefix w")
        units += [unit for paragraph in _paragraphs(root) for unit in _units(paragraph, text, offset)]
        texts.append(text)
        encoders.append(encode)
        offset += len(text) + len(_SEPARATOR)
    encode_all = partial(_packed, parts, names, encoders)
    return Document(_SEPARATOR.join(texts), kept_units(units, wanted.limits, where), encode_all)


def _parts(data: bytes, where: str, limits: Limits) -> dict[str, tuple[ZipInfo, bytes]]:
    """All parts by name; FileFormatError or FileTooLargeError for what no word processor writes."""
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise FileFormatError(f"{where}: is encrypted or a .doc: save it as .docx without a password")
    try:
        with ZipFile(BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > _MOST_PARTS:
                raise FileTooLargeError(f"{where}: {len(infos)} parts in the archive, at most {_MOST_PARTS} are read")
            size = sum(info.file_size for info in infos)
            if size > limits.size:
                raise FileTooLargeError(f"{where}: {size} bytes unpacked, at most {limits.size} are read")
            for info in infos:
                _check(info, where)
            if len({info.filename.lower() for info in infos}) < len(infos):
                raise FileFormatError(f"{where}: two parts of the archive have the same name")
            parts = {info.filename: (info, archive.read(info)) for info in infos}
    except (BadZipFile, ZlibError, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise FileFormatError(f"{where}: is no DOCX: {error}") from error
    if _TYPES not in parts or "word/document.xml" not in parts:
        raise FileFormatError(f"{where}: is no DOCX: word/document.xml or {_TYPES} is missing")
    types = parts[_TYPES][1]
    if b"macroEnabled" in types or any(name.lower().endswith("vbaproject.bin") for name in parts):
        raise FileFormatError(f"{where}: has macros: save it as .docx without them")
    if _MAIN.encode() not in types:
        raise FileFormatError(f"{where}: {_TYPES} names no document of Word")
    return parts


def _check(info: ZipInfo, where: str) -> None:
    name = info.filename
    if info.flag_bits & 1:
        raise FileFormatError(f"{where}: {name[:80]} is encrypted: save it without a password")
    if name.startswith("/") or "\\" in info.orig_filename or ":" in name or ".." in name.split("/") or not name:
        raise FileFormatError(f"{where}: {name[:80]!r} is not the name of a part")
    if info.file_size > _RATIO_FROM and info.file_size > _MOST_RATIO * max(info.compress_size, 1):
        ratio = info.file_size // max(info.compress_size, 1)
        raise FileFormatError(f"{where}: {name[:80]} is packed {ratio} times, at most {_MOST_RATIO} times is read")


def _packed(
    parts: dict[str, tuple[ZipInfo, bytes]],
    names: Sequence[str],
    encoders: Sequence[Callable[[str], bytes]],
    text: str,
) -> bytes:
    texts = text.split(_SEPARATOR)
    changed = {name: encode(part) for name, encode, part in zip(names, encoders, texts, strict=True)}
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, (info, content) in parts.items():
            copy = ZipInfo(name, info.date_time)
            copy.compress_type, copy.external_attr, copy.comment = info.compress_type, info.external_attr, info.comment
            copy.create_system = info.create_system
            archive.writestr(copy, changed.get(name, content))
    return buffer.getvalue()


def _paragraphs(root: Element) -> Iterator[Element]:
    return (element for element in root.walk() if element.tag == "w:p")


def _units(paragraph: Element, text: str, offset: int) -> Iterator[Unit]:
    inner = [child for child in paragraph.children if child.name not in ("pPr",)]
    if not inner:
        return
    if any(element.tag == "w:p" for child in inner for element in child.walk()):
        # Text boxes have paragraphs of their own: what is around them is translated run by run.
        for element in _own_texts(paragraph):
            found = Marked(marked([Piece("text", element.text)]).source, ())
            begin, end = element.first + offset, element.last + offset
            yield Unit(found.source, begin, end, escaped)
        return
    runs = _Runs(text)
    runs.read(inner)
    if any(piece.kind == "text" and piece.raw.strip() for piece in runs.pieces):
        pieces, base = runs.marked_up()
        found = marked(pieces)
        begin, end = inner[0].begin + offset, inner[-1].end + offset
        yield Unit(found.source, begin, end, partial(_write, found, base))


def _own_texts(element: Element) -> Iterator[Element]:
    for child in element.children:
        if child.tag == "w:t" and child.first < child.end:
            yield child
        elif child.tag != "w:p":
            yield from _own_texts(child)


@dataclass(frozen=True)
class _Format:
    """A format of text, as the properties of its run are written; equal ones are one pair of codes each time."""

    properties: str
    number: int


class _Runs:
    """The content of a paragraph: text by format, breaks, and markup to keep."""

    def __init__(self, text: str) -> None:
        self._xml = text
        self.pieces: list[Piece] = []  # the `pair` of text is its format

    def read(self, elements: Sequence[Element]) -> None:
        """Take elements of a paragraph; a field is kept whole, with what it shows, unless it is a link."""
        depth, first, inner = 0, 0, 0
        for index, element in enumerate(elements):
            marks = [child.get("w:fldCharType") for child in element.children if child.tag == "w:fldChar"]
            if depth == 0 and not marks:
                self._element(element)
                continue
            first, inner = (first, inner) if depth else (index, 0)
            depth += marks.count("begin") - marks.count("end")
            if depth == 1 and "separate" in marks:
                inner = index + 1
            if depth == 0:
                self._field(elements[first : index + 1], inner - first)
        if depth > 0:  # it ends in another paragraph
            self._field(elements[first:], 0)

    def _field(self, elements: Sequence[Element], inner: int) -> None:
        """A field from its first run to its last; what it shows begins at `inner`, if it is there."""
        shown = elements[inner:-1]
        code = "".join(element.text for element in elements[: max(inner, 0)])
        if inner <= 0 or not shown or not code.strip().startswith("HYPERLINK"):
            self._point(self._xml[elements[0].begin : elements[-1].end])
            return
        self.pieces.append(Piece("open", self._xml[elements[0].begin : shown[0].begin], elements[0]))
        self.read(shown)
        self.pieces.append(Piece("close", self._xml[shown[-1].end : elements[-1].end], elements[0]))

    def marked_up(self) -> tuple[list[Piece], str]:
        """The pieces with codes around text that is not in the format of most of it, and that format."""
        weights: dict[str, int] = {}
        for piece in self.pieces:
            if piece.kind == "text":
                weights[str(piece.pair)] = weights.get(str(piece.pair), 0) + len(piece.raw)
        base = max(weights, key=lambda name: weights[name])
        found: list[Piece] = []
        for number, piece in enumerate(self.pieces):
            if piece.kind != "text" or piece.pair == base or not piece.raw.strip():
                found.append(piece._replace(pair=None) if piece.kind == "text" else piece)
                continue
            key = _Format(str(piece.pair), number)
            found += [Piece("open", "", key), piece._replace(pair=None), Piece("close", "", key)]
        return found, base

    def _element(self, element: Element) -> None:
        raw = self._xml[element.begin : element.end]
        if element.name in _DROPPED:
            return
        if element.tag == "w:r":
            self._run(element)
            return
        content = element.child("sdtContent") if element.name == "sdt" else element
        if element.name not in _AROUND or content is None or content.first == content.end:
            self._point(raw)
            return
        inner = content.children
        if not inner:
            self._point(raw)
            return
        self.pieces.append(Piece("open", self._xml[element.begin : inner[0].begin], element))
        self.read(inner)
        self.pieces.append(Piece("close", self._xml[inner[-1].end : element.end], element))

    def _run(self, run: Element) -> None:
        properties = run.child("rPr")
        format_ = self._xml[properties.begin : properties.end] if properties is not None else ""
        format_ = _NO_FORMAT.sub("", format_)
        format_ = "" if format_ == "<w:rPr></w:rPr>" else format_
        opening = self._xml[run.begin : run.first]
        for child in run.children:
            if child is properties or child.name in _DROPPED:
                continue
            if child.tag == "w:t":
                self._text(child.text, format_)
            elif child.tag == "w:noBreakHyphen":
                self._text("\u2011", format_)
            elif child.tag != "w:softHyphen":
                raw = f"{opening}{format_}{self._xml[child.begin : child.end]}</w:r>"
                self.pieces.append(Piece("point", raw, segment=child.name in _BREAKS))

    def _text(self, text: str, format_: str) -> None:
        if not text:
            return
        last = self.pieces[-1] if self.pieces else None
        if last is not None and last.kind == "text" and (last.pair == format_ or not text.strip()):
            self.pieces[-1] = last._replace(raw=last.raw + text)
        else:
            self.pieces.append(Piece("text", text, format_))

    def _point(self, raw: str) -> None:
        self.pieces.append(Piece("point", raw))


def _write(found: Marked, base: str, translation: str) -> str | None:
    pieces = found.pieces(translation)
    if pieces is None:
        return None
    written: list[str] = []
    formats = [base]
    for piece in pieces:
        if isinstance(piece.pair, _Format):
            formats = [*formats, piece.pair.properties] if piece.kind == "open" else formats[:-1]
        elif piece.kind == "text":
            written.append(f'<w:r>{formats[-1]}<w:t xml:space="preserve">{escaped(piece.raw)}</w:t></w:r>')
        else:
            written.append(piece.raw)
    return "".join(written)
