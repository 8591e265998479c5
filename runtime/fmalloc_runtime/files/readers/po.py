"""PO and POT of gettext: empty `msgstr` are filled, plural forms as the header says; comments and flags stay."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from gettext import c2py

from fmalloc_runtime.files.document import Document, FileFormatError, Unit, Wanted, kept_units
from fmalloc_runtime.files.encoding import decoded_po
from fmalloc_runtime.files.inline import Marked, marked, pieces_of, strung

_STRING = r'"((?:[^"\\\n]|\\.)*)"'
_LINE = re.compile(
    rf"[ \t]*(?:(?P<keyword>msgctxt|msgid_plural|msgid|msgstr)(?:\[(?P<form>\d{{1,3}})\])?[ \t]*)?{_STRING}[ \t]*"
)
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_WRITTEN = {"\\": "\\\\", '"': '\\"', "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
_FORMS = re.compile(
    r"^Plural-Forms:\s*nplurals\s*=\s*(\d{1,2})\s*;\s*plural\s*=\s*([^;\n]{1,400})", re.MULTILINE | re.I
)
_LANGUAGE = re.compile(r"^Language:[ \t]*([\w@.-]{1,40})", re.MULTILINE | re.I)


def read(data: bytes, where: str, wanted: Wanted) -> Document:
    """A PO or POT file; its header's language must be the bundles' target."""
    text, encode = decoded_po(data, where)
    entries = list(_entries(text, where))
    header = next((entry.forms[0].text for entry in entries if entry.is_header and entry.forms), "")
    if match := _LANGUAGE.search(header):
        wanted.check(match[1], "target", where)
    singular = _singular(header, where)
    end = "\r\n" if "\r\n" in text else "\n"
    units = [unit for entry in entries if not entry.is_header for unit in _units(entry, singular, end, wanted)]
    return Document(text, kept_units(units, wanted.limits, where), encode)


@dataclass
class _Field:
    """A string of an entry, with the span of its quoted lines."""

    text: str
    begin: int
    end: int
    lines: int = 1


@dataclass
class _Entry:
    id: _Field | None = None
    plural: _Field | None = None
    context: _Field | None = None
    forms: dict[int, _Field] = field(default_factory=dict)

    @property
    def is_header(self) -> bool:
        return self.id is not None and not self.id.text and self.context is None


def _entries(text: str, where: str) -> Iterator[_Entry]:
    entry, last, at = _Entry(), None, 0
    for number, line in enumerate(text.split("\n"), start=1):
        begin, content, at = at, line.rstrip("\r"), at + len(line) + 1
        if not content.strip() or content.lstrip().startswith("#"):
            last = None
            continue
        match = _LINE.fullmatch(content)
        if match is None or (match["keyword"] is None and last is None):
            raise FileFormatError(
                f'{where}:{number}: {content.strip()[:60]!r} is not PO: expected a keyword and "text"'
            )
        first, string = begin + match.start(3) - 1, _read(match[3])
        keyword = match["keyword"]
        if keyword is None:
            assert last is not None
            last.text, last.end, last.lines = last.text + string, begin + match.end(3) + 1, last.lines + 1
            continue
        if keyword in ("msgctxt", "msgid") and entry.id is not None:
            yield entry
            entry = _Entry()
        last = _Field(string, first, begin + match.end(3) + 1)
        if keyword == "msgstr":
            if entry.id is None:
                raise FileFormatError(f"{where}:{number}: msgstr without msgid before it")
            entry.forms[int(match["form"] or 0)] = last
        elif keyword == "msgctxt":
            entry.context = last
        elif keyword == "msgid":
            entry.id = last
        else:
            entry.plural = last
    if entry.id is not None:
        yield entry


def _units(entry: _Entry, singular: int, end: str, wanted: Wanted) -> Iterator[Unit]:
    assert entry.id is not None
    for number, form in entry.forms.items():
        if form.text and not wanted.again:
            continue
        source = entry.id if entry.plural is None or (number == singular and len(entry.forms) > 1) else entry.plural
        found = marked(pieces_of(source.text))
        wrapped = source.lines > 1 or form.lines > 1
        yield Unit(found.source, form.begin, form.end, partial(_write, found, end, wrapped))


def _write(found: Marked, end: str, wrapped: bool, translation: str) -> str | None:
    written = strung(found, translation)
    if written is None:
        return None
    lines = written.split("\n")
    quoted = [f'"{_escape(line)}\\n"' for line in lines[:-1]] + ([f'"{_escape(lines[-1])}"'] if lines[-1] else [])
    if len(quoted) < 2 and not wrapped:
        return quoted[0] if quoted else '""'
    return end.join(['""', *quoted])


def _singular(header: str, where: str) -> int:
    """Which plural form is that of the number 1."""
    if (match := _FORMS.search(header)) is None:
        return 0
    try:
        return int(c2py(match[2].strip())(1))
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise FileFormatError(
            f"{where}: Plural-Forms {match[2].strip()[:80]!r} is not an expression: {error}"
        ) from error


def _read(raw: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "01234567":
            return chr(int(code, 8))
        return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPES.get(code, code)

    return _ESCAPE.sub(character, raw)


def _escape(text: str) -> str:
    return "".join(_WRITTEN.get(character, character) for character in text)
