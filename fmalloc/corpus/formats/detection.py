"""What a file seems to be that was expected to hold lines of text, so that the error can say what to do with it."""

import codecs
import csv
import re
from pathlib import Path
from typing import NoReturn

from fmalloc.corpus.formats.files import opened
from fmalloc_shared.errors import FmallocError

_HEAD = 1 << 13
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TABLE = "save the table as tab-separated text in UTF-8"
_MEMORY = "export it as TMX"
_MAGIC = (
    (b"PK\x03\x04", "a ZIP archive, such as .xlsx, .ods or .docx", f"{_TABLE}, or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "a file of older Office programs, such as .xls or .doc", _TABLE),
    (b"SQLite format 3\0", "a database, such as Trados' .sdltm", _MEMORY),
    (b"%PDF-", "a PDF", _TABLE),
    *(
        (magic, f"packed by {packer}", "unpack it, or use gzip")
        for magic, packer in (
            (b"BZh", "bzip2"),
            (b"\xfd7zXZ\0", "xz"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        )
    ),
)
_XML = re.compile(r"(?:<[?!][^>]*>\s*)*<(?:[\w.-]+:)?([\w.-]+)[^>]*>")
_DIALECTS = {
    "xliff": ("XLIFF", "convert it to TMX, or save its sources and targets as tab-separated text"),
    "tmx": ("TMX", "let its name end in .tmx"),
    "html": ("HTML", _TABLE),
}
_JSON = re.compile(r"""\{\s*["}]|\[\s*[\[{"\]]""")
_PO = re.compile(r'^msgid(?:_plural)? "', re.MULTILINE)
_SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars"}


def refuse_binary(path: Path) -> None:
    """Raise FmallocError if the first bytes are those of a format that is not text, or of UTF-16 without its mark."""
    head = _head(path)
    for magic, kind, remedy in _MAGIC:
        if head.startswith(magic):
            _fail(path, kind, remedy)
    # These marks, and XML's first character, tell a reader which UTF-16 it is.
    if head.startswith((*_WIDE, b"<\0", b"\0<")):
        return
    # Of UTF-16, every other byte is 0 in most texts that have tabs and line ends.
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) / 8 and min(even, odd) == 0:
        order = "BE" if even else "LE"
        _fail(path, "UTF-16 without a byte order mark", f"convert it to UTF-8 (iconv -f UTF-16{order} -t UTF-8)")


def refuse_other_formats(path: Path) -> None:
    """Raise FmallocError if the text begins as XML, JSON, a PO file or CSV does."""
    head = _head(path)
    wide = head.startswith(_WIDE)
    text = head.decode("utf-16" if wide else "utf-8-sig", errors="replace").lstrip()
    if match := _XML.match(text):
        _fail(path, *_DIALECTS.get(match[1].lower(), (f"XML (<{match[1]}>)", _MEMORY)))
    if _JSON.match(text):
        _fail(path, "JSON", "write its sources and targets as tab-separated lines")
    if _PO.search(text):
        _fail(path, "a PO file", "convert it to TMX (po2tmx of the Translate Toolkit)")
    if "\r" in text and "\n" not in text:
        _fail(path, "text whose lines end in CR alone", "let them end in LF")
    for separator, name in _SEPARATORS.items():
        if "\t" not in text and _is_table(text, separator):
            _fail(path, f"a table with {name}", f"{_TABLE}: with tabs between the columns")


def _is_table(text: str, separator: str) -> bool:
    """Whether the first records have as many columns as each other, at least two."""
    whole = text.splitlines(keepends=True)[: 20 if len(text) < _HEAD / 4 else -1]
    try:
        widths = {len(record) for record in csv.reader(whole, delimiter=separator) if record}
    except csv.Error:
        return False
    return len(widths) == 1 and min(widths) > 1


def _head(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(_HEAD)


def _fail(path: Path, kind: str, remedy: str) -> NoReturn:
    raise FmallocError(f"{path}: it seems to be {kind}, not parallel text; {remedy}")
