"""Formats of parallel text, read strictly: rows of line number, source and target, either of which may be empty."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from fmalloc.corpus.files import lines
from fmalloc.corpus.report import Tally
from fmalloc.corpus.tmx import tmx_rows
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair, short_code

_SHOWN_ERRORS = 5
_GZIP_ENDING = ".gz"

Row = tuple[int, str, str]


def find(path: Path, languages: LanguagePair) -> tuple[Path, ...]:
    """The TSV or TMX file or the Moses pair that `path` names, with or without its ending; empty if none.

    Raises:
        FmallocError: it is neither a file nor a folder, or it names text in two formats.
    """
    if path.is_file():
        side = _unpacked(path).suffix.removeprefix(".")
        codes = {*languages, *map(short_code, languages)}
        return _moses(_unpacked(path).with_suffix(""), languages) if side in codes else (path,)
    if path.exists() and not path.is_dir():
        raise FmallocError(f"{path}: expected a file or a folder (a resumed run could not read a pipe again)")
    single = [(file,) for ending in ("tsv", "tmx") if (file := _ending(path, ending)).is_file()]
    found = [*single, *([pair] if any(map(Path.is_file, pair := _moses(path, languages))) else [])]
    if len(found) > 1:
        raise FmallocError(
            f"{path}: {' and '.join(str(files[0]) for files in found)} both exist; keep only the intended one"
        )
    return found[0] if found else ()


def rows(files: Sequence[Path], languages: LanguagePair, tally: Tally) -> Iterator[Row]:
    """Line number, source and target of everything in a file or a Moses pair.

    Raises:
        FmallocError: a line has no tab or several, one file is longer than the other, TMX is malformed, nothing is
            there; or the text cannot be read (as `lines`).
    """
    if len(files) == 2:
        found = moses_rows(*files)
    elif _unpacked(files[0]).suffix.lower() == ".tmx":
        found = tmx_rows(files[0], languages, tally)
    else:
        found = tsv_rows(files[0])
    before = tally.read
    for row in found:
        tally.read += 1
        yield row
    if tally.read == before:
        raise FmallocError(f"{files[0]}: empty, expected one pair per line")


def tsv_rows(path: Path) -> Iterator[Row]:
    """Rows of `source<TAB>target` lines; a blank line is a row without text."""
    problems: list[str] = []
    unshown = 0
    for number, line in enumerate(lines(path), start=1):
        columns = line.split("\t")
        if len(columns) == 2:
            yield number, columns[0].strip(), columns[1].strip()
        elif not line.strip():
            yield number, "", ""
        elif len(problems) < _SHOWN_ERRORS:
            found = "one-sided line without a tab" if len(columns) == 1 else f"{len(columns)} columns"
            shown = " | ".join(columns)[:80]
            problems.append(f"{path}:{number}: {found}, expected source<TAB>target: {shown!r}")
        else:
            unshown += 1
    if problems:
        raise FmallocError("\n".join([*problems, *([f"and {unshown} more"] if unshown else [])]))


def moses_rows(source: Path, target: Path) -> Iterator[Row]:
    """Rows of two files whose lines correspond."""
    sources, targets = lines(source), lines(target)
    for number, (left, right) in enumerate(zip_longest(sources, targets), start=1):
        if left is None or right is None:
            longer = number + sum(1 for _ in (targets if left is None else sources))
            counts = (number - 1, longer) if left is None else (longer, number - 1)
            raise FmallocError(f"{source} has {counts[0]} lines, {target} has {counts[1]}: they must correspond")
        yield number, left.strip(), right.strip()


def _moses(stem: Path, languages: LanguagePair) -> tuple[Path, Path]:
    """Both files; their endings are the languages' codes as given, or the short codes."""
    source, target = (_existing(_ending(stem, code), _ending(stem, short_code(code))) for code in languages)
    return source, target


def _ending(stem: Path, ending: str) -> Path:
    """The file with that ending, or its gzip file if only that exists."""
    plain = stem.with_name(f"{stem.name}.{ending}")
    return _existing(plain, plain.with_name(plain.name + _GZIP_ENDING))


def _existing(first: Path, second: Path) -> Path:
    """The second one if only that exists."""
    return second if second.is_file() and not first.is_file() else first


def _unpacked(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() == _GZIP_ENDING else path
