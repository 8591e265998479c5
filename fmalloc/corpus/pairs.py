"""A pair of sentences, and what identifies many."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fmalloc.corpus.report import CorpusReport


class Pair(NamedTuple):
    """A source sentence and its translation, neither empty, no surrounding white space."""

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
    """Pairs to learn from, to select by and to report on."""

    train: tuple[Pair, ...]
    dev: tuple[Pair, ...]
    test: tuple[Pair, ...]
    report: CorpusReport = field(default_factory=CorpusReport)
