"""Pairs to learn from that a test then asks for, which makes its scores flatter."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Literal
from unicodedata import category

from fmalloc.corpus.cleaning import CorpusSettings
from fmalloc.corpus.pairs import Corpus, Pair
from fmalloc.corpus.report import Tally

_INESSENTIAL = frozenset({"Cc", "Cf", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Zl", "Zp", "Zs"})


class HeldOutPairs:
    """Pairs of dev and test, found again whatever their case, spaces and punctuation."""

    def __init__(self, *parts: Iterable[Pair]) -> None:
        self._targets: dict[str, set[str]] = {}
        for pair in chain(*parts):
            self._targets.setdefault(_essence(pair.source), set()).add(_essence(pair.target))

    def match(self, pair: Pair) -> Literal["pair", "source"] | None:
        """Whether the pair is there, or its source with another translation."""
        targets = self._targets.get(_essence(pair.source)) if self._targets else None
        if targets is None:
            return None
        return "pair" if _essence(pair.target) in targets else "source"


def without(
    pairs: tuple[Pair, ...], held_out: HeldOutPairs, settings: CorpusSettings, tally: Tally
) -> tuple[Pair, ...]:
    """The pairs that are not held out; with drop_overlap off all of them, and a warning."""
    rest, sources = [], 0
    for pair in pairs:
        match = held_out.match(pair)
        if match != "pair":
            rest.append(pair)
        sources += match == "source"
    if sources:
        tally.warnings.append(
            f"training pairs whose source dev or test have with another translation: {sources:,} (kept)"
        )
    overlap = len(pairs) - len(rest)
    if overlap and not settings.drop_overlap:
        tally.warnings.append(f"training pairs that are in dev or test too, so that scores will flatter: {overlap:,}")
        return pairs
    if overlap:
        tally.drop("in dev or test", pairs=overlap)
    return tuple(rest)


def between(corpora: Mapping[str, Corpus]) -> Iterator[str]:
    """A message for each corpus of which training pairs are test pairs of another; they are not dropped."""
    for name, corpus in corpora.items():
        others = HeldOutPairs(*(other.test for other_name, other in corpora.items() if other_name != name))
        if found := sum(others.match(pair) == "pair" for pair in corpus.train):
            yield f"{name}: warning: training pairs that are in the test of another domain: {found:,}"


def _essence(text: str) -> str:
    """Lower-case letters, digits and symbols; a text without any stands for itself."""
    folded = text.casefold()
    return _inessential().sub("", folded) or folded


@cache
def _inessential() -> re.Pattern[str]:
    """Spaces, punctuation, control and format characters; \\W would take vowel signs of Indic scripts too."""
    characters = (chr(code) for code in range(0x10000) if category(chr(code)) in _INESSENTIAL)
    return re.compile(f"[{re.escape(''.join(characters))}]+")
