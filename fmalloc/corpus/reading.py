"""A corpus from files: a folder with train, dev and test, or one file from which dev and test are drawn."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fmalloc.corpus.cleaning import EVERYTHING, CorpusSettings, clean, filled
from fmalloc.corpus.formats import find, rows
from fmalloc.corpus.overlap import HeldOutPairs, without
from fmalloc.corpus.pairs import Corpus, Pair
from fmalloc.corpus.report import CorpusReport, Tally, described
from fmalloc.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

_PARTS = ("train", "dev", "test")
_DRAWN_PAIRS = 1000
_DRAWN_SHARE = 0.05
_DEFAULTS = CorpusSettings()


def read_corpus(path: Path, languages: LanguagePair, settings: CorpusSettings = _DEFAULTS) -> Corpus:
    """Read a folder with train, dev and test, or one file; missing parts are drawn from train by hash.

    The draw depends only on each pair's source, so reordering the file moves no pair between the parts. Markup is
    taken out of every part. What teaches nothing is dropped from train alone, before anything is drawn from it: a given
    dev or test set is what others score on too, so only its pairs with an empty side are dropped.

    Raises:
        FmallocError: a file is missing, damaged, empty, not UTF-8, or not in its format; a part ends empty.
    """
    tally = Tally()
    parts = _parts(path, languages, settings, tally)
    for part, pairs in parts.items():
        if not pairs:
            dropped = f"; dropped: {described(tally.dropped)}" if tally.dropped else ""
            raise FmallocError(
                f"{path}: no {part} pair is left of {tally.read:,} pairs read{dropped}; give more text, or your "
                "own files for dev and test"
            )
    if both := _both(parts["dev"], parts["test"]):
        tally.warnings.append(f"test pairs that are also in dev, which selects the best state: {both:,}")
    return Corpus(**parts, report=CorpusReport.of(tally, **{part: len(pairs) for part, pairs in parts.items()}))


def read_pairs(path: Path, languages: LanguagePair) -> tuple[Pair, ...]:
    """Every pair with text on both sides of a TSV, TMX or Moses pair; of a folder, those to train on.

    What was dropped and cleaned is reported on standard error. Errors as read_corpus.
    """
    return read_train_and_dev(path, languages)[0]


def read_train_and_dev(path: Path, languages: LanguagePair) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """What read_pairs reads, and a folder's dev, given or drawn; of a file there is none. Errors as read_corpus."""
    tally = Tally()
    files = () if path.is_dir() else find(path, languages)
    parts = {"train": _filled(files, languages, tally)} if files else _parts(path, languages, EVERYTHING, tally)
    for done, counts in (("dropped", tally.dropped), ("cleaned:", tally.cleaned)):
        if counts:
            console.print(f"{path}: {done} {described(counts)}", markup=False)
    return parts["train"], parts.get("dev", ())


def _parts(path: Path, languages: LanguagePair, settings: CorpusSettings, tally: Tally) -> dict[str, tuple[Pair, ...]]:
    """Train, dev and test."""
    files = {part: find(path / part, languages) for part in _PARTS} if path.is_dir() else {}
    train_files = files.pop("train", ()) or find(path, languages)
    if not train_files:
        raise FmallocError(
            f"{path}: no parallel text; expected a .tsv or .tmx file, a pair {path}.{languages.source} and "
            f"{path}.{languages.target}, or a folder with train.tsv, train.tmx or train.{languages.source} and "
            f"train.{languages.target}, each also with .gz"
        )
    train = tuple(clean(train_files[0], rows(train_files, languages, tally), settings, tally))
    given = {part: _filled(found, languages, tally) for part, found in files.items() if found}
    train = without(train, HeldOutPairs(*given.values()), settings, tally)
    drawn: dict[str, tuple[Pair, ...]] = {}
    for part in _PARTS[1:]:
        if part not in given:
            drawn[part], train = _draw(train, part)
    train = without(train, HeldOutPairs(*drawn.values()), settings, tally)
    held_out = given | drawn
    return {"train": train, "dev": held_out["dev"], "test": held_out["test"]}


def _filled(files: Sequence[Path], languages: LanguagePair, tally: Tally) -> tuple[Pair, ...]:
    return tuple(pair for _, pair in filled(files[0], rows(files, languages, tally), tally))


def _both(dev: Sequence[Pair], test: Sequence[Pair]) -> int:
    held_out = HeldOutPairs(dev)
    return sum(held_out.match(pair) == "pair" for pair in test)


def _draw(pairs: tuple[Pair, ...], part: str) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Split off the pairs whose hash falls into the part's share: (drawn, rest)."""
    share = min(_DRAWN_SHARE, _DRAWN_PAIRS / len(pairs)) if pairs else 0.0
    drawn: list[Pair] = []
    rest: list[Pair] = []
    for pair in pairs:
        hashed = hashlib.sha256(f"{part}\t{pair.source}".encode()).digest()
        (drawn if int.from_bytes(hashed[:8]) < share * 2**64 else rest).append(pair)
    return tuple(drawn), tuple(rest)
