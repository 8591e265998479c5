"""Sentence pairs, the digest that identifies a sequence of them, and a corpus in its three parts."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fmalloc.corpus.report import CorpusReport


class Pair(NamedTuple):
    """A source sentence and its translation, neither empty, without surrounding white space."""

    source: str
    target: str


def digest(pairs: Iterable[Pair]) -> str:
    """Hex SHA-256 of the pairs in order."""
    hashed = hashlib.sha256()
    for source, target in pairs:
        hashed.update(f"{source}\t{target}\n".encode())
    return hashed.hexdigest()


@dataclass(frozen=True)
class Corpus:
    """Pairs to learn from (`train`), to select the best state by (`dev`) and to report scores on (`test`)."""

    train: tuple[Pair, ...]
    dev: tuple[Pair, ...]
    test: tuple[Pair, ...]
    report: CorpusReport = field(default_factory=CorpusReport)
