"""A corpus from files: a folder with train, dev and test, or one file from which dev and test are drawn.

Training text lies in arrays: of files where it is large, so that memory does not grow with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from fmalloc.cache.cache import NOTHING_KEPT, WORTH_KEEPING, Cache
from fmalloc.cache.columns import Draft, Entry
from fmalloc.corpus.blocks import Block
from fmalloc.corpus.cleaning import EVERYTHING, CorpusSettings, filled
from fmalloc.corpus.formats.formats import Row, find, records, rows
from fmalloc.corpus.overlap import HeldOutPairs
from fmalloc.corpus.pairs import BLOCK, Corpus, Pair, Pairs
from fmalloc.corpus.report import CorpusReport, Tally, described
from fmalloc.corpus.table import Table, Text
from fmalloc.corpus.workers import applied
from fmalloc_shared.commands.progress import bar, console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256
from fmalloc_shared.languages import LanguagePair

# Of what a cache holds of a corpus: raise it with every change to what is read, cleaned, dropped or drawn.
_FORMAT = 1
_PARTS = ("train", "dev", "test")
_DEFAULTS = CorpusSettings()


def read_corpus(
    path: Path, languages: LanguagePair, settings: CorpusSettings = _DEFAULTS, cache: Cache = NOTHING_KEPT
) -> Corpus:
    """Read a folder with train, dev and test, or one file; missing parts are drawn from train by hash.

    The draw depends only on each pair's source, so reordering the file moves no pair between the parts. Markup is
    taken out of every part. What teaches nothing is dropped from train alone, before anything is drawn from it: a given
    dev or test set is what others score on too, so only its pairs with an empty side are dropped. Large text is cleaned
    by as many processes as there are cores.

    Raises:
        FmallocError: a file is missing, damaged, empty, not UTF-8, or not in its format; a part ends empty; there is
            no room for the arrays.
    """
    files = _files(path, languages)
    before = {file: file.stat() for of_part in files.values() for file in of_part if file.is_file()}
    size = sum(status.st_size for status in before.values())
    made_from: dict[str, Any] = {}
    if cache.keeps(size):
        made_from = {
            "format": _FORMAT,
            "files": {part: [[str(file), sha256(file)] for file in of_part] for part, of_part in files.items()},
            "languages": list(languages),
            "settings": settings.model_dump(),
        }

    def make(draft: Draft) -> Mapping[str, Any]:
        with bar(f"reading {path}", None) if size >= WORTH_KEEPING else nullcontext() as advance:
            tally = _fill(draft, files, languages, settings, advance)
        for part in _PARTS:
            if not draft.columns[f"{part}.text"].bytes:
                dropped = f"; dropped: {described(tally.dropped)}" if tally.dropped else ""
                raise FmallocError(
                    f"{path}: no {part} pair is left of {tally.read:,} pairs read{dropped}; give more text, or your "
                    "own files for dev and test"
                )
        for file, status in before.items():
            if (now := file.stat()).st_mtime_ns != status.st_mtime_ns or now.st_size != status.st_size:
                raise FmallocError(f"{file}: was changed while it was read; run again when it is whole")
        return tally.state()

    entry = cache.entry("corpus", made_from, make, text_bytes=size)
    tally = Tally.of(entry.note)
    train, dev, test = (_pairs(entry, part) for part in _PARTS)
    held_out = HeldOutPairs(dev)
    if both := sum(held_out.match(pair) == "pair" for pair in test):
        tally.warnings.append(f"test pairs that are also in dev, which selects the best state: {both:,}")
    report = CorpusReport.of(tally, train=len(train), dev=len(dev), test=len(test))
    return Corpus(train, tuple(dev), tuple(test), report, entry.arrays["train.checksums"])


def read_pairs(path: Path, languages: LanguagePair) -> tuple[Pair, ...]:
    """Every pair with text on both sides of a TSV, TMX or Moses pair; of a folder, those to train on.

    What was dropped and cleaned is reported on standard error. Errors as read_corpus.
    """
    return read_train_and_dev(path, languages)[0]


def read_train_and_dev(path: Path, languages: LanguagePair) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """What read_pairs reads, and a folder's dev, given or drawn; of a file there is none. Errors as read_corpus."""
    files, tally = _files(path, languages), Tally()
    if path.is_dir():
        with Draft() as draft:
            tally = _fill(draft, files, languages, EVERYTHING)
            entry = draft.entry({})
        train, dev = tuple(_pairs(entry, "train")), tuple(_pairs(entry, "dev"))
    else:
        train, dev = tuple(_given(files["train"], languages, tally)), ()
    for done, counts in (("dropped", tally.dropped), ("cleaned:", tally.cleaned)):
        if counts:
            console.print(f"{path}: {done} {described(counts)}", markup=False)
    return train, dev


def _files(path: Path, languages: LanguagePair) -> dict[str, tuple[Path, ...]]:
    """The files of each part; empty for one that is to be drawn."""
    files = {part: find(path / part, languages) if path.is_dir() else () for part in _PARTS}
    files["train"] = files["train"] or find(path, languages)
    if not files["train"]:
        raise FmallocError(
            f"{path}: no parallel text; expected a .tsv or .tmx file, a pair {path}.{languages.source} and "
            f"{path}.{languages.target}, or a folder with train.tsv, train.tmx or train.{languages.source} and "
            f"train.{languages.target}, each also with .gz"
        )
    return files


def _fill(
    draft: Draft,
    files: Mapping[str, Sequence[Path]],
    languages: LanguagePair,
    settings: CorpusSettings,
    advance: Callable[[int], None] | None = None,
) -> Tally:
    """Read all parts into columns of a draft; with `advance`, on all cores."""
    tally, train = Tally(), files["train"]
    drawn = [part for part in _PARTS[1:] if not files[part]]
    clean = partial(Block.of, train[0], settings, drawn)
    blocks = applied(clean, _blocks(records(train, languages, tally)), shared=advance is not None)
    table = Table(train[0], blocks, draft, tally, drawn, advance)
    if settings.drop_duplicates:
        table.drop_duplicates(tally)
    table.count_changed(tally)
    tally.in_order()
    held_out = {part: list(_given(files[part], languages, tally)) for part in _PARTS[1:] if part not in drawn}
    table.drop_held_out(HeldOutPairs(*held_out.values()), tally, drop=settings.drop_overlap)
    for part in drawn:
        held_out[part] = table.draw(part)
    table.drop_held_out(HeldOutPairs(*(held_out[part] for part in drawn)), tally, drop=settings.drop_overlap)
    for part in _PARTS[1:]:
        Text.of(draft, part).append(held_out[part])
    table.write(Text.of(draft, "train"), draft.column("train.checksums", "uint32"))
    return tally


def _blocks(found: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(found)
    while block := list(islice(rest, BLOCK)):
        yield block


def _given(files: Sequence[Path], languages: LanguagePair, tally: Tally) -> Iterator[Pair]:
    return (pair for _, pair in filled(files[0], rows(files, languages, tally), tally))


def _pairs(entry: Entry, part: str) -> Pairs:
    text = f"{part}.text"
    return Pairs(entry.arrays[text], entry.arrays[f"{part}.starts"], sha256=entry.digests[text])
