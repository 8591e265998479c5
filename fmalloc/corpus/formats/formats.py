"""Formats of parallel text, read strictly: rows of line number, source and target, either of which may be empty."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from fmalloc.corpus.formats.detection import refuse_binary
from fmalloc.corpus.formats.files import lines
from fmalloc.corpus.formats.markup import may_have_markup, plain
from fmalloc.corpus.formats.tmx import tmx_rows
from fmalloc.corpus.formats.tsv import tsv_rows
from fmalloc.corpus.report import Place, Tally
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair, short_code

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
    """What `records` gives, without markup."""
    return without_markup(files[0], records(files, languages, tally), tally)


def records(files: Sequence[Path], languages: LanguagePair, tally: Tally) -> Iterator[Row]:
    """Line number, source and target of everything in a file or a Moses pair.

    Raises:
        FmallocError: a line has no tab or several, one file is longer than the other, TMX is malformed, nothing is
            there, it is another format; or the text cannot be read (as `lines`).
    """
    for file in files:
        refuse_binary(file)
    if len(files) == 2:
        found = moses_rows(*files)
    elif _unpacked(files[0]).suffix.lower() == ".tmx":
        found = tmx_rows(files[0], languages, tally)
    else:
        found = tsv_rows(files[0], languages, tally)
    before = tally.read
    for row in found:
        tally.read += 1
        yield row
    if tally.read == before:
        raise FmallocError(f"{files[0]}: empty, expected one pair per line")


def without_markup(path: Path, rows: Iterable[Row], tally: Tally) -> Iterator[Row]:
    """Rows of a file without tags and entities (`plain`)."""
    for row in rows:
        line, source, target = row
        if not (may_have_markup(source) or may_have_markup(target)):
            yield row
            continue
        texts = plain(source), plain(target)
        if any(text.entities for text in texts):
            tally.clean("entities decoded", Place(path, line))
        if any(text.tags for text in texts):
            tally.clean("tags taken out", Place(path, line))
        yield line, texts[0].text, texts[1].text


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
    # Not by with_name, which "/" and "." have none for.
    plain = Path(f"{stem}.{ending}")
    return _existing(plain, Path(f"{plain}{_GZIP_ENDING}"))


def _existing(first: Path, second: Path) -> Path:
    """The second one if only that exists."""
    return second if second.is_file() and not first.is_file() else first


def _unpacked(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() == _GZIP_ENDING else path
