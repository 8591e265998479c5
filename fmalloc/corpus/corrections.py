"""Corrections of translations from files: parallel text, or a server's log; garbage is left out and counted."""

from collections.abc import Iterator
from pathlib import Path

from fmalloc.corpus.formats.formats import Row, find, records, without_markup
from fmalloc.corpus.pairs import Pair
from fmalloc.corpus.report import Place, Tally
from fmalloc_shared.corrections import ENDING, read_log, refusal
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.invisible import without_invisible
from fmalloc_shared.languages import LanguagePair


def read_corrections(path: Path, domain: str, languages: LanguagePair, tally: Tally) -> tuple[Pair, ...]:
    """The corrections of a domain in a TSV, TMX, Moses pair or log, in their order; of a source the last one.

    path: of a folder, that which a server keeps them in, the domain's log. Errors as of read_corpus, and for a log of
    another language pair.
    """
    file, found = _file(path, domain, languages), dict[str, Pair]()
    for line, *sides in without_markup(file, _rows(file, domain, languages, tally), tally):
        source, target = (without_invisible(side).strip() for side in sides)
        if reason := refusal(source, target):
            tally.drop(reason, Place(file, line))
            continue
        if found.pop(source, None):
            tally.drop("corrected again later", Place(file, line))
        found[source] = Pair(source, target)
    return tuple(found.values())


def _file(path: Path, domain: str, languages: LanguagePair) -> Path:
    if path.is_dir() and (log := path / f"{domain}{ENDING}").is_file():
        return log
    if path.suffix == ENDING and path.is_file():
        return path
    if not (found := find(path, languages)):
        raise FmallocError(
            f"{path}: no corrections of {domain}; expected a .tsv or .tmx file, a pair {path}.{languages.source} and "
            f"{path}.{languages.target}, a log of a server such as {domain}{ENDING}, or the folder that it lies in"
        )
    return found[0]


def _rows(file: Path, domain: str, languages: LanguagePair, tally: Tally) -> Iterator[Row]:
    if file.suffix != ENDING:
        yield from records(find(file, languages), languages, tally)
        return
    for line, correction in read_log(file):
        if tuple(correction.languages) != tuple(languages):
            other = "-".join(correction.languages)
            raise FmallocError(f"{file}:{line}: a correction of {other}, the store translates {'-'.join(languages)}")
        tally.read += 1
        if correction.domain != domain:
            tally.drop("of another domain", Place(file, line))
            continue
        yield line, correction.source, correction.target
