"""Plain text, line by line, and HTML as a whole: the text pipeline reads both itself."""

import re

from fmalloc_runtime.files.document import Document, Source, Unit, Wanted, kept_units
from fmalloc_runtime.files.encoding import decoded, decoded_html

_LINE = re.compile(r"[^\r\n]+")


def read_text(data: bytes, where: str, wanted: Wanted) -> Document:
    """Plain text in UTF-8 or, with a byte order mark, UTF-16."""
    text, encode = decoded(data, where)
    lines = [Unit(Source(match[0], "text"), *match.span()) for match in _LINE.finditer(text)]
    return Document(text, kept_units(lines, wanted.limits, where), encode)


def read_html(data: bytes, where: str, wanted: Wanted) -> Document:
    """An HTML page or fragment."""
    text, encode = decoded_html(data, where)
    units = [Unit(Source(text, "html"), 0, len(text))]
    return Document(text, kept_units(units, wanted.limits, where), encode)
