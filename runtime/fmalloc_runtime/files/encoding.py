"""Bytes of a text file as text and back, without a byte lost: byte order marks, declared encodings, UTF-8."""

import codecs
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fmalloc_runtime.files.document import FileFormatError

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_XML = re.compile(rb"""<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})""")
_META = re.compile(rb"""<meta[^>]{0,300}?charset\s*=\s*["']?\s*([A-Za-z0-9._-]{1,40})""", re.IGNORECASE)
_PO = re.compile(rb"Content-Type:[^\n\"]{0,100}charset=([A-Za-z0-9._-]{1,40})")
# Encodings that code no characters, or in which markup is not ASCII.
_TEXT = re.compile(
    r"(?:utf-?8|(?:us-)?ascii|iso-?8859-?\d+|latin-?\d+|windows-?\d+|cp125\d|koi8-[ru]|euc-\w+|gb\w+|big5|shift_jis)",
    re.I,
)
_HEAD = 2_000


@dataclass(frozen=True)
class Encoding:
    """How a file's text is written. `escape`: of characters that the encoding lacks, None where there is none."""

    name: str
    mark: bytes = b""
    escape: str | None = None

    def encode(self, text: str) -> bytes:
        """The bytes of a text; FileFormatError if the encoding lacks a character."""
        try:
            return self.mark + text.encode(self.name, self.escape or "strict")
        except UnicodeEncodeError as error:
            character = text[error.start]
            raise FileFormatError(
                f"{character!r} of the translation cannot be written in {self.name}: convert the file to UTF-8 first"
            ) from error


def decoded(
    data: bytes, where: str, declared: Iterable[re.Pattern[bytes]] = (), *, xml: bool = False
) -> tuple[str, Callable[[str], bytes]]:
    """The text of a file and how it is encoded again; FileFormatError names the byte that is not text."""
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    name = _MARKS.get(mark) or _declared(data[:_HEAD], declared, where)
    encoding = Encoding(name, mark, "xmlcharrefreplace" if xml else None)
    body = data[len(mark) :]
    try:
        text = body.decode(name)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise FileFormatError(
            f"{where}:{line}: byte 0x{body[error.start]:02x} is not {name}: convert the file to UTF-8 first"
        ) from error
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise FileFormatError(f"{where}:{line}: a NUL character: not text, or not all of it was copied")
    if text.encode(name) != body:
        raise FileFormatError(f"{where}: cannot be written again in {name} as it was: convert it to UTF-8 first")
    return text, encoding.encode


def decoded_xml(data: bytes, where: str) -> tuple[str, Callable[[str], bytes]]:
    """As `decoded`, with the encoding that the XML declaration names."""
    return decoded(data, where, (_XML,), xml=True)


def decoded_html(data: bytes, where: str) -> tuple[str, Callable[[str], bytes]]:
    """As `decoded`, with the encoding that the HTML names."""
    return decoded(data, where, (_XML, _META), xml=True)


def decoded_po(data: bytes, where: str) -> tuple[str, Callable[[str], bytes]]:
    """As `decoded`, with the encoding that the header of a PO file names."""
    return decoded(data, where, (_PO,))


def _declared(head: bytes, declared: Iterable[re.Pattern[bytes]], where: str) -> str:
    for pattern in declared:
        if (match := pattern.search(head)) and match[1] != b"CHARSET":
            name = match[1].decode()
            if not _TEXT.fullmatch(name):
                raise FileFormatError(f"{where}: encoding {name!r} is not read: convert the file to UTF-8 first")
            try:
                return codecs.lookup(name).name
            except LookupError as error:
                raise FileFormatError(f"{where}: encoding {name!r} is unknown: convert the file to UTF-8") from error
    return "utf-8"
