"""Overlap: training pairs that the test or dev set also holds, which would inflate scores."""

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
    """Pairs of dev and test, matched regardless of case, spaces and punctuation."""

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
    """The pairs that are not held out. With drop_overlap off, all pairs are kept and a warning is given instead."""
    rest, sources = [], 0
    for pair in pairs:
        match = held_out.match(pair)
        if match != "pair":
            rest.append(pair)
        sources += match == "source"
    if sources:
        tally.warnings.append(
            f"training pairs whose source is in dev or test with another translation: {sources:,} (kept)"
        )
    overlap = len(pairs) - len(rest)
    if overlap and not settings.drop_overlap:
        tally.warnings.append(f"training pairs that dev or test also hold, which inflates scores: {overlap:,}")
        return pairs
    if overlap:
        tally.drop("in dev or test", pairs=overlap)
    return tuple(rest)


def between(corpora: Mapping[str, Corpus]) -> Iterator[str]:
    """A warning per corpus whose training pairs include test pairs of another corpus; they are not dropped."""
    for name, corpus in corpora.items():
        others = HeldOutPairs(*(other.test for other_name, other in corpora.items() if other_name != name))
        if found := sum(others.match(pair) == "pair" for pair in corpus.train):
            yield f"{name}: warning: training pairs that are in another domain's test set: {found:,}"


def _essence(text: str) -> str:
    """Lower-case letters, digits and symbols of a text; a text without any is compared as it is."""
    folded = text.casefold()
    return _inessential().sub("", folded) or folded


@cache
def _inessential() -> re.Pattern[str]:
    """Spaces, punctuation, control and format characters. \\W would also match vowel signs of Indic scripts."""
    characters = (chr(code) for code in range(0x10000) if category(chr(code)) in _INESSENTIAL)
    return re.compile(f"[{re.escape(''.join(characters))}]+")
