"""Tab-separated text: `source<TAB>target` lines, plain or quoted as spreadsheets do, with or without a header row."""

import re
from collections.abc import Iterator
from pathlib import Path

from langcodes import Language, tag_is_valid

from fmalloc.corpus.formats.detection import refuse_other_formats
from fmalloc.corpus.formats.files import lines
from fmalloc.corpus.formats.markup import one_line
from fmalloc.corpus.report import Place, Tally
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair, short_code

_SHOWN_ERRORS = 5
# A cell of a spreadsheet holds 32,767 characters; a record that is longer was opened by a quotation mark of the text.
_LONGEST_RECORD = 1 << 18
# RFC 4180: a quoted field doubles the quotation marks in it, and holds tabs and line breaks. The csv module does not
# tell which fields were quoted, and that is what shows whether a file means its quotation marks so.
_FIELD = re.compile(r'("[^"]*(?:""[^"]*)*"|[^"\t]*)(?:\t|\Z)')
_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_LETTER = re.compile(r"[^\W\d_]")

_HEADERS = (
    frozenset({"source", "src", "source text", "source segment", "quelle", "quelltext", "ausgangstext"}),
    frozenset({"target", "trg", "tgt", "target text", "target segment", "translation", "ziel", "zieltext"}),
)
_HEADER = re.compile(r"([^()]{1,40}?)\s*(?:\(([^()]{1,40})\))?")


def tsv_rows(path: Path, languages: LanguagePair, tally: Tally) -> Iterator[tuple[int, str, str]]:
    """Line, source and target of each record; a blank line is a row without text, a header row is left out.

    The file is read as RFC 4180 if it follows that throughout and shows that it means it (`_is_quoted`). Elsewhere a
    quotation mark is text, except around a field that doubles those in it.

    Raises:
        FmallocError: a line has no tab or several, which a file in another format has too; the header names the
            languages in the other order; or the text cannot be read (as `lines`).
    """
    quoted = _is_quoted(path)
    records = _records(path) if quoted else ((number, line.split("\t")) for number, line in _numbered(path))
    problems: list[str] = []
    unshown = 0
    for number, columns in _without_header(path, records, languages, tally):
        if len(columns) == 2:
            source, target = (_unquoted(column, always=quoted) for column in columns)
            if [source, target] != columns:
                tally.clean("spreadsheet's quotes taken out", Place(path, number))
                source, target = one_line(source), one_line(target)
            yield number, source.strip(), target.strip()
        elif not any(column.strip() for column in columns):
            yield number, "", ""
        elif len(problems) < _SHOWN_ERRORS:
            problems.append(_problem(path, number, columns, first=not problems))
        else:
            unshown += 1
    if problems:
        raise FmallocError("\n".join([*problems, *([f"and {unshown} more"] if unshown else [])]))


def _problem(path: Path, number: int, columns: list[str], *, first: bool) -> str:
    """What is wrong with a line; where it is the first, the whole file may be in another format, which is raised."""
    if first:
        refuse_other_formats(path)
    found = "one-sided line without a tab" if len(columns) == 1 else f"{len(columns)} columns"
    return f"{path}:{number}: {found}, expected source<TAB>target: {' | '.join(columns)[:80]!r}"


class _NotQuotedError(Exception):
    """The text does not follow RFC 4180."""


def _is_quoted(path: Path) -> bool:
    """Whether the file is quoted as spreadsheets quote, which takes a reading of its own: of no more than is needed.

    It follows RFC 4180 throughout, and some field needs its quotation marks; or exactly the fields with a comma have
    them, as Excel writes; or all that are not numbers, as LibreOffice may. Text in which speech stands in quotation
    marks does none of this: it has a lone one or a comma without them somewhere.
    """
    some = needed = False
    every = commas = True
    try:
        for _, fields in _records(path):
            for field in fields:
                if field[:1] == '"':
                    some = True
                    needed = needed or any(character in field[1:-1] for character in '"\t\n')
                    commas = commas and "," in field
                elif field:
                    every = every and not _LETTER.search(field)
                    commas = commas and "," not in field
    except _NotQuotedError:
        return False
    return some and (needed or every or commas)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """First line and fields, as they stand there, of each record of RFC 4180.

    Raises:
        _NotQuotedError: a quotation mark stands where none may, is never closed, or its record has not two columns.
    """
    start, record = 0, ""
    for number, line in _numbered(path):
        if not record and '"' not in line:
            yield number, line.split("\t")
            continue
        start, record = (start, f"{record}\n{line}") if record else (number, line)
        if len(record) > _LONGEST_RECORD:
            raise _NotQuotedError
        # Inside of an open field, the number of quotation marks so far is odd.
        if record.count('"') % 2 == 0:
            yield start, _fields(record)
            record = ""
    if record:
        raise _NotQuotedError


def _fields(record: str) -> list[str]:
    fields, at = [], 0
    while match := _FIELD.match(record, at):
        fields.append(match[1])
        at = match.end()
        if at == len(record) and not match[0].endswith("\t"):
            break
    if at < len(record) or len(fields) != 2:
        raise _NotQuotedError
    return fields


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    return enumerate(lines(path), start=1)


def _unquoted(field: str, *, always: bool) -> str:
    """A field's text; with `always` off, one that might be speech in quotation marks keeps them."""
    if field[:1] != '"' or not _QUOTED.fullmatch(field):
        return field
    inner = field[1:-1]
    return inner.replace('""', '"') if always or '""' in inner else field


def _without_header(
    path: Path, records: Iterator[tuple[int, list[str]]], languages: LanguagePair, tally: Tally
) -> Iterator[tuple[int, list[str]]]:
    """The records, without the first one if its columns say what is in them instead of being it."""
    for index, (number, columns) in enumerate(records):
        if index == 0 and _is_header(path, [_unquoted(column, always=True) for column in columns], languages):
            tally.clean("header row left out", Place(path, number))
        else:
            yield number, columns


def _is_header(path: Path, columns: list[str], languages: LanguagePair) -> bool:
    """Whether two columns say what is in them."""
    if len(columns) != 2:
        return False
    if all(_names(column, side, languages) for side, column in enumerate(columns)):
        return True
    if all(_names(column, 1 - side, languages) for side, column in enumerate(columns)):
        raise FmallocError(
            f"{path}:1: the header row names {columns[0]!r} and {columns[1]!r}, expected {languages.source} and "
            f"{languages.target}: swap the columns"
        )
    return False


def _names(column: str, side: int, languages: LanguagePair) -> bool:
    """Whether a column's head is `source`, `de`, `German`, `Deutsch` or `Source (de-DE)`, or the target's like."""
    match = _HEADER.fullmatch(column.strip())
    if match is None:
        return False
    heads = {head.casefold() for head in match.groups() if head}
    language = (languages.source, languages.target)[side]
    if heads & _HEADERS[side] or short_code(language) in map(short_code, heads):
        return True
    codes = [short_code(code) for code in languages]
    if len(column.split()) > 4 or not all(map(tag_is_valid, codes)):
        return False
    named = Language.get(codes[side])
    return not heads.isdisjoint({named.autonym().casefold(), *(named.display_name(code).casefold() for code in codes)})
