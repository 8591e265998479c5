"""Glossaries as files: TSV, CSV and TBX, read strictly; what is wrong is named by file, line and value."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.files.elements import Element, parse
from fmalloc_runtime.files.encoding import decoded, decoded_xml
from fmalloc_runtime.text.terms import Entry
from fmalloc_runtime.text.words import words
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.faults import has_control
from fmalloc_shared.files import read_small
from fmalloc_shared.invisible import without_invisible
from fmalloc_shared.languages import LanguagePair, short_code

LONGEST_TERM = 1024
"""Characters of a term; DeepL's limit, there in bytes."""
MOST_WORDS = 40
"""Words of a term: what is longer is a sentence."""
LARGEST_FILE = 64 * 2**20
"""Bytes of a file."""
_SHOWN = 80
_HEADINGS = ("source", "target")
# TBX, in both of its shapes: DCA and DCT, and the older and the newer names.
_CONCEPTS, _LANGUAGES = ("termEntry", "conceptEntry"), ("langSet", "langSec")
# Values of administrativeStatus, in the spellings of ISO 12616, of TBX-Basic and of tools.
_REFUSED = ("deprecated", "superseded", "forbidden", "prohibited")
# A status as a rank, the best first.
_PREFERRED, _ADMITTED, _DEPRECATED = range(3)


class GlossaryFileError(BadRequestError):
    """The glossary is malformed; the message has the line and the value."""


class _Line(NamedTuple):
    number: int
    entry: Entry


def read_glossary(path: Path, languages: LanguagePair) -> list[Entry]:
    """The entries of a file for a language pair; its name's end tells the format: .tsv, .csv, .tbx.

    Raises FmallocError for what cannot be read, GlossaryFileError for what is wrong in it or if it has no entry.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise FmallocError(
            f"{path}: a glossary's name ends in {', '.join(_READERS)}, found {path.suffix or 'no ending'!r}"
        )
    entries = read(read_small(path, LARGEST_FILE), str(path), languages)
    if not entries:
        pair = " to ".join(short_code(language) for language in languages)
        raise GlossaryFileError(f"{path}: has no entry from {pair}")
    return entries


def read_tsv(data: bytes, where: str, _languages: LanguagePair | None = None) -> list[Entry]:
    """A term and its translation a line, with a tab between; empty lines do not count."""
    text, _ = decoded(data, where)
    return _checked(_tsv_lines(text, where), where)


def read_csv(data: bytes, where: str, languages: LanguagePair | None = None) -> list[Entry]:
    """A term and its translation a line, as RFC 4180 quotes them.

    Two more columns may name the languages: lines of other languages than `languages` are left out. A first line may
    have the headings `source` and `target`.
    """
    text, _ = decoded(data, where)
    return _checked(_csv_lines(text, where, languages), where)


def read_tbx(data: bytes, where: str, languages: LanguagePair | None) -> list[Entry]:
    """The concepts that have terms of both languages: every term of the source, and the preferred one of the target.

    Without one that is marked as preferred, the first. Deprecated terms of the target are never taken. Of concepts with
    one term, the first counts.
    """
    assert languages is not None
    text, _ = decoded_xml(data, where)
    root = parse(text, where)
    if root.name not in ("tbx", "martif"):
        raise GlossaryFileError(f"{where}:{root.line}: <{root.tag[:40]}>: expected <tbx> or <martif>")
    lines: dict[str, _Line] = {}
    for concept in (element for element in root.walk() if element.name in _CONCEPTS):
        sources = list(_terms(concept, languages.source))
        targets = [(status, term) for term, status in _terms(concept, languages.target) if status < _DEPRECATED]
        if not targets:
            continue
        _, target = min(targets, key=lambda found: found[0])
        for source, _ in sources:
            lines.setdefault(_text(source), _Line(source.line, Entry(_text(source), _text(target))))
    return _checked(lines.values(), where)


def check_term(term: str, where: str) -> str:
    """A term without space around it and characters that show nothing; GlossaryFileError if it can be none."""
    term = without_invisible(term).strip()
    if not term:
        raise GlossaryFileError(f"{where}: a term is empty")
    if len(term) > LONGEST_TERM:
        raise GlossaryFileError(
            f"{where}: {_shown(term)} has {len(term)} characters, at most {LONGEST_TERM} are allowed"
        )
    if has_control(term) or len(term.splitlines()) > 1:
        raise GlossaryFileError(f"{where}: {_shown(term)}: expected a term of one line without control characters")
    if (count := len(words(term))) > MOST_WORDS:
        raise GlossaryFileError(f"{where}: {_shown(term)} has {count} words, at most {MOST_WORDS} are allowed")
    return term


def _checked(lines: Iterable[_Line], where: str) -> list[Entry]:
    known: dict[str, int] = {}
    entries = []
    for number, entry in lines:
        place = f"{where}:{number}"
        source, target = check_term(entry.source, place), check_term(entry.target, place)
        if source in known:
            raise GlossaryFileError(f"{place}: {_shown(source)} is there already, in line {known[source]}")
        known[source] = number
        entries.append(Entry(source, target))
    return entries


def _tsv_lines(text: str, where: str) -> Iterator[_Line]:
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) != len(_HEADINGS):
            raise GlossaryFileError(
                f"{where}:{number}: {_shown(line)} has {len(columns)} columns: expected a term, a tab, its translation"
            )
        yield _Line(number, Entry(*columns))


def _csv_lines(text: str, where: str, languages: LanguagePair | None) -> Iterator[_Line]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 1
    try:
        for row in reader:
            began, number = number, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if began == 1 and [cell.strip().lower() for cell in row[:2]] == list(_HEADINGS):
                continue
            if len(row) not in (2, 4):
                raise GlossaryFileError(
                    f"{where}:{began}: {_shown(','.join(row))} has {len(row)} columns: expected a term and its "
                    "translation, or these two and the codes of their languages"
                )
            if len(row) == 4 and languages is not None and not _is_pair(row[2:], languages):
                continue
            yield _Line(began, Entry(row[0], row[1]))
    except csv.Error as error:
        raise GlossaryFileError(f"{where}:{reader.line_num}: not CSV: {error}") from error


def _is_pair(codes: list[str], languages: LanguagePair) -> bool:
    return [short_code(code) for code in codes] == [short_code(language) for language in languages]


def _terms(concept: Element, language: str) -> Iterator[tuple[Element, int]]:
    """The terms of a language with the ranks of their status."""
    for section in concept.children:
        if section.name in _LANGUAGES and short_code(section.get("xml:lang")) == short_code(language):
            for term in (element for element in section.walk() if element.name == "term"):
                if _text(term):
                    yield term, _status(term)


def _status(term: Element) -> int:
    assert term.parent is not None
    notes = (note for note in term.parent.walk() if note is not term and "administrativeStatus" in _kind(note))
    status = next((note.text.strip().lower() for note in notes), "")
    if any(word in status for word in _REFUSED):
        return _DEPRECATED
    return _PREFERRED if status.startswith("preferred") else _ADMITTED


def _kind(note: Element) -> tuple[str, str]:
    return note.name, note.get("type")


def _text(element: Element) -> str:
    return " ".join(element.text.split())


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")


_READERS: dict[str, Callable[[bytes, str, LanguagePair | None], list[Entry]]] = {
    ".tsv": read_tsv,
    ".csv": read_csv,
    ".tbx": read_tbx,
}
