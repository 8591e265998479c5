"""Overlap: training pairs that the test or dev set also holds, which would inflate scores."""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Literal
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from fmalloc.cache.columns import release
from fmalloc.corpus.pairs import Corpus, Pair

_BLOCK = 1 << 18

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

    def candidates(self, checksums: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Rows, by the checksums of their sources, that `match` may find; any other row it does not."""
        known = np.array(sorted({zlib.crc32(essence.encode()) for essence in self._targets}), np.uint32)
        found = [np.empty(0, np.int64)]
        for first in range(0, len(checksums) if len(known) else 0, _BLOCK):
            block = checksums[first : first + _BLOCK]
            nearest = known[np.minimum(np.searchsorted(known, block), len(known) - 1)]
            found.append(first + np.flatnonzero(nearest == block))
            release(checksums)
        return np.concatenate(found)


def between(corpora: Mapping[str, Corpus]) -> Iterator[str]:
    """A warning per corpus whose training pairs include test pairs of another corpus; they are not dropped."""
    for name, corpus in corpora.items():
        others = HeldOutPairs(*(other.test for other_name, other in corpora.items() if other_name != name))
        rows = others.candidates(corpus.checksums)
        if found := sum(others.match(corpus.train[row]) == "pair" for row in rows.tolist()):
            yield f"{name}: warning: training pairs that are in another domain's test set: {found:,}"


def checksum(text: str) -> int:
    """32 bits that texts share which differ in case, spaces and punctuation only."""
    return zlib.crc32(_essence(text).encode())


def _essence(text: str) -> str:
    """Lower-case letters, digits and symbols of a text; a text without any is compared as it is."""
    folded = text.casefold()
    try:
        found = folded.encode("latin-1").translate(None, _inessential_bytes()).decode("latin-1")
    except UnicodeEncodeError:
        found = _inessential().sub("", folded)
    return found or folded


@cache
def _inessential() -> re.Pattern[str]:
    """Spaces, punctuation, control and format characters. \\W would also match vowel signs of Indic scripts."""
    characters = (chr(code) for code in range(0x10000) if category(chr(code)) in _INESSENTIAL)
    return re.compile(f"[{re.escape(''.join(characters))}]+")


@cache
def _inessential_bytes() -> bytes:
    """Those of them that Latin-1 has, by which most European text passes several times as fast."""
    return bytes(code for code in range(0x100) if category(chr(code)) in _INESSENTIAL)
