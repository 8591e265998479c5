"""A corpus in memory."""

from dataclasses import dataclass, field

from fmalloc.corpus.pairs import Pair
from fmalloc.corpus.report import Report


@dataclass(frozen=True)
class Corpus:
    """Pairs to learn from, to select by and to report on."""

    train: tuple[Pair, ...]
    dev: tuple[Pair, ...]
    test: tuple[Pair, ...]
    report: Report = field(default_factory=Report)
