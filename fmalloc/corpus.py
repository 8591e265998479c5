"""Parallel text: TSV files and Moses pairs, read strictly, and their split into train, dev and test."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fmalloc_shared.errors import FmallocError

_SHOWN_ERRORS = 5
_DRAWN_PAIRS = 1000
_DRAWN_SHARE = 0.05


class Pair(NamedTuple):
    """A source sentence and its translation, neither empty, no surrounding white space."""

    source: str
    target: str


class Languages(NamedTuple):
    """Codes of the source and the target language, as file endings and as the model's tokenizer knows them."""

    source: str
    target: str


@dataclass(frozen=True)
class Corpus:
    """Pairs to learn from, to select by and to report on."""

    train: tuple[Pair, ...]
    dev: tuple[Pair, ...]
    test: tuple[Pair, ...]


def digest(pairs: Iterable[Pair]) -> str:
    """Hex SHA-256 of the pairs in order."""
    hashed = hashlib.sha256()
    for source, target in pairs:
        hashed.update(f"{source}\t{target}\n".encode())
    return hashed.hexdigest()


def read_corpus(path: Path, languages: Languages) -> Corpus:
    """Read a folder with train, dev and test, or one file; what is missing is drawn from train by hash.

    The draw depends on each pair alone, so reordering the file or adding lines moves no pair between the parts.

    Raises:
        FmallocError: a file is missing, empty, not UTF-8, or has an empty or one-sided line.
    """
    parts = {part: _find(path / part, languages) for part in ("train", "dev", "test")} if path.is_dir() else {}
    train_files = parts.get("train") or _find(path, languages)
    if not train_files:
        raise FmallocError(
            f"{path}: no parallel text; expected a .tsv file, a pair {path}.{languages.source} and "
            f"{path}.{languages.target}, or a folder with train.tsv or train.{languages.source} and "
            f"train.{languages.target}"
        )
    train = _read(train_files)
    held_out = {part: _read(files) for part in ("dev", "test") if (files := parts.get(part))}
    for part in ("dev", "test"):
        if part not in held_out:
            held_out[part], train = _draw(train, part)
    if not train:
        raise FmallocError(f"{path}: no pair is left to train on after drawing dev and test; give more text")
    return Corpus(train, held_out["dev"], held_out["test"])


def read_pairs(path: Path, languages: Languages) -> tuple[Pair, ...]:
    """Every pair of a TSV file or a Moses pair; of a folder, those to train on. Errors as read_corpus."""
    files = () if path.is_dir() else _find(path, languages)
    return _read(files) if files else read_corpus(path, languages).train


def _find(path: Path, languages: Languages) -> tuple[Path, ...]:
    """The TSV file or the Moses pair that `path` names, with or without its ending; empty if none."""
    if path.is_file():
        if path.suffix == f".{languages.source}":
            return path, path.with_suffix(f".{languages.target}")
        return (path,)
    tsv = path.with_name(f"{path.name}.tsv")
    if tsv.is_file():
        return (tsv,)
    source, target = (path.with_name(f"{path.name}.{language}") for language in languages)
    return (source, target) if source.is_file() or target.is_file() else ()


def _read(files: Sequence[Path]) -> tuple[Pair, ...]:
    return read_tsv(files[0]) if len(files) == 1 else read_moses(*files)


def read_tsv(path: Path) -> tuple[Pair, ...]:
    """Read `source<TAB>target` lines."""

    def columns() -> Iterator[list[str]]:
        for line in _lines(path):
            yield line.split("\t")

    return _checked(path, columns())


def read_moses(source: Path, target: Path) -> tuple[Pair, ...]:
    """Read two files whose lines correspond."""
    sources, targets = list(_lines(source)), list(_lines(target))
    if len(sources) != len(targets):
        raise FmallocError(f"{source} has {len(sources)} lines, {target} has {len(targets)}: they must correspond")
    return _checked(source, ([s, t] for s, t in zip(sources, targets, strict=True)))


def _checked(path: Path, lines: Iterable[list[str]]) -> tuple[Pair, ...]:
    pairs, problems = [], []
    for number, columns in enumerate(lines, start=1):
        sides = [column.strip() for column in columns]
        if len(sides) == 2 and all(sides):
            pairs.append(Pair(*sides))
        else:
            problems.append(f"{path}:{number}: {_problem(sides)}: {' | '.join(sides)[:80]!r}")
    if problems:
        more = f"\nand {len(problems) - _SHOWN_ERRORS} more" if len(problems) > _SHOWN_ERRORS else ""
        raise FmallocError("\n".join(problems[:_SHOWN_ERRORS]) + more)
    if not pairs:
        raise FmallocError(f"{path}: empty, expected one pair a line")
    return tuple(pairs)


def _problem(sides: Sequence[str]) -> str:
    if not any(sides):
        return "empty line, expected source<TAB>target"
    if len(sides) > 2:
        return f"{len(sides)} columns, expected source<TAB>target"
    return "one-sided line, expected text on both sides"


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise FmallocError(
                        f"{path}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start}); "
                        "convert the file to UTF-8"
                    ) from error
    except FileNotFoundError as error:
        raise FmallocError(f"{path}: no such file") from error


def _draw(pairs: tuple[Pair, ...], part: str) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Split off the pairs whose hash falls into the part's share: (drawn, rest)."""
    share = min(_DRAWN_SHARE, _DRAWN_PAIRS / len(pairs)) if pairs else 0.0
    drawn: list[Pair] = []
    rest: list[Pair] = []
    for pair in pairs:
        hashed = hashlib.sha256(f"{part}\t{pair.source}".encode()).digest()
        (drawn if int.from_bytes(hashed[:8]) < share * 2**64 else rest).append(pair)
    return tuple(drawn), tuple(rest)
