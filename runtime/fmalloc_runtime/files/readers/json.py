"""JSON: every text value is translated in place; keys and all else stay. In ARB files, what is under `@…` stays too."""

import json
import re
from collections.abc import Iterator
from functools import partial

from fmalloc_runtime.files.document import Document, FileFormatError, Unit, Wanted, kept_units
from fmalloc_runtime.files.encoding import decoded
from fmalloc_runtime.files.inline import Marked, marked, pieces_of, strung
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.strict import parse_json

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],]', re.DOTALL)
_COLON = re.compile(r"\s*:")


def read(data: bytes, where: str, wanted: Wanted) -> Document:
    """A JSON file; FileFormatError if it is not valid JSON without repeated keys."""
    text, encode = decoded(data, where)
    try:
        parse_json(text.encode("utf-8", "surrogatepass"), where)
    except FmallocError as error:
        raise FileFormatError(str(error)) from error
    units = []
    for begin, end in _values(text):
        found = marked(pieces_of(json.loads(text[begin:end])))
        ascii_only = "\\u" in text[begin:end] and text[begin:end].isascii()
        units.append(Unit(found.source, begin, end, partial(_write, found, ascii_only)))
    return Document(text, kept_units(units, wanted.limits, where), encode)


def _values(text: str) -> Iterator[tuple[int, int]]:
    """The strings that are values, outside objects and lists whose key begins with `@`."""
    kept: list[bool] = [False]  # by depth
    key = ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "{[":
            kept.append(kept[-1] or key.startswith("@"))
            key = ""
        elif token in "}]":
            kept.pop()
            key = ""
        elif token == ",":
            key = ""
        elif _COLON.match(text, match.end()):
            key = json.loads(token)
        elif not kept[-1] and not key.startswith("@"):
            yield match.span()


def _write(found: Marked, ascii_only: bool, translation: str) -> str | None:
    written = strung(found, translation)
    if written is None:
        return None
    halves = any("\ud800" <= character <= "\udfff" for character in written)
    return json.dumps(written, ensure_ascii=ascii_only or halves)
