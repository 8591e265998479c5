"""A domain's text as post-edits that come day by day, one in ten of them garbage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmalloc.corpus import EVERYTHING, Pair, read_corpus
from fmalloc_shared.languages import LanguagePair

LANGUAGES = LanguagePair("de", "en")
_GARBAGE = 10  # one in so many
KINDS = ("another sentence's target", "words in another order", "the source", "a source as target", "half")


@dataclass(frozen=True)
class Plan:
    """What is replayed: `known` pairs that the first version learns, then so many post-edits a day."""

    store: Path
    corpora: Path
    work: Path
    domain: str
    days: int
    per_day: int
    known: int
    first_updates: int
    updates: int
    rate_scale: float
    sentences: int
    cells: int

    @property
    def own(self) -> Path:
        """The copy of the store that is changed."""
        return self.work / "store"

    @property
    def text(self) -> Path:
        """What the domain had before the first day."""
        return self.work / "text"


def prepare(plan: Plan) -> tuple[list[Pair], list[list[tuple[Pair, str]]]]:
    """The domain's test, and the rows of each day with the kind of garbage that each is, empty for none."""
    corpus = read_corpus(plan.corpora / plan.domain, LANGUAGES, EVERYTHING)
    drawn = np.random.default_rng(1).permutation(len(corpus.train))[: plan.known + plan.days * plan.per_day]
    pairs = [corpus.train[index] for index in drawn.tolist()]
    if not plan.text.exists():
        plan.text.mkdir(parents=True)
        for part, chosen in (("train", pairs[: plan.known]), ("dev", corpus.dev), ("test", corpus.test)):
            write(plan.text / part, chosen)
    later = pairs[plan.known :]
    days = [later[day * plan.per_day : (day + 1) * plan.per_day] for day in range(plan.days)]
    return list(corpus.test[: plan.sentences]), [_spoiled(rows) for rows in days]


def write(path: Path, pairs: Sequence[Pair]) -> None:
    """A pair of files, one sentence per line."""
    for side, language in enumerate(LANGUAGES):
        path.with_suffix(f".{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")


def _spoiled(rows: Sequence[Pair]) -> list[tuple[Pair, str]]:
    """A tenth of the rows becomes garbage, of each kind in turn."""
    draw, found = np.random.default_rng(len(rows)), []
    for place, pair in enumerate(rows):
        kind = KINDS[place // _GARBAGE % len(KINDS)] if place % _GARBAGE == 3 else ""
        other = rows[(place + len(rows) // 2) % len(rows)]
        words = pair.target.split()
        target = {
            "": pair.target,
            KINDS[0]: other.target,
            KINDS[1]: " ".join(words[index] for index in draw.permutation(len(words))),
            KINDS[2]: pair.source,
            KINDS[3]: other.source,
            KINDS[4]: " ".join(words[: len(words) // 2]),
        }[kind]
        found.append((Pair(pair.source, target), kind))
    return found
