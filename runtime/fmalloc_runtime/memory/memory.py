"""A translation memory that answers: exact matches, and fuzzy ones by edit distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein

from fmalloc_runtime.memory.file import key_of, numbers_of, opened
from fmalloc_runtime.memory.folding import folded, trigrams

# The rarest trigrams of a source that pairs are looked for by, and the pairs with most of them that are compared.
_TRIGRAMS, _CANDIDATES = 48, 128
# SQLite's limit on parameters of a statement, in its oldest versions.
_PARAMETERS = 900


@dataclass(frozen=True)
class Match:
    """A pair and how similar its source is, in per cent: 100 less the edits per character of the longer one."""

    source: str
    target: str
    similarity: float


class Memory:
    """The memory in a file that was checked; safe to use from several threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exact(self, sources: Sequence[str]) -> dict[str, str]:
        """The translation of each source that is there word for word; of several, the first."""
        found: dict[str, str] = {}
        with opened(self._path) as connection:
            for source in dict.fromkeys(sources):
                text = folded(source)
                rows = connection.execute(
                    "SELECT source, target FROM pairs WHERE key = ? ORDER BY id", (key_of(text),)
                ).fetchall()
                if targets := [target for other, target in rows if folded(other) == text]:
                    found[source] = targets[0]
        return found

    def similar(self, source: str, threshold: float, limit: int) -> list[Match]:
        """At most `limit` pairs whose similarity is at least `threshold` per cent, the most similar first.

        Found are the exact ones, and those that share rare trigrams with the source; one that shares only common ones
        may be missed.
        """
        text = folded(source)
        with opened(self._path) as connection:
            names = trigrams(text)[:_PARAMETERS]
            marks = ",".join("?" * len(names))
            rows = connection.execute(
                f"SELECT ids FROM trigrams WHERE trigram IN ({marks}) ORDER BY pairs, trigram LIMIT {_TRIGRAMS}", names
            ).fetchall()
            candidates = _commonest([numbers_of(blob) for (blob,) in rows])
            marks = ",".join("?" * len(candidates))
            pairs = connection.execute(
                f"SELECT id, source, target FROM pairs WHERE id IN ({marks}) OR key = ?", [*candidates, key_of(text)]
            ).fetchall()
        matches: dict[tuple[str, str], tuple[float, int, Match]] = {}
        for number, found, target in sorted(pairs):
            other = folded(found)
            similarity = 100 * Levenshtein.normalized_similarity(text, other, score_cutoff=threshold / 100)
            if similarity >= threshold and similarity > 0:
                matches.setdefault((other, target), (similarity, -number, Match(found, target, round(similarity, 1))))
        return [match for _, _, match in nlargest(limit, matches.values(), key=lambda entry: entry[:2])]


def _commonest(postings: Sequence[Sequence[int]]) -> list[int]:
    """The numbers that stand in most of the lists."""
    if not postings:
        return []
    together = np.concatenate([np.asarray(one, dtype=np.int64) for one in postings])
    numbers, counts = np.unique(together, return_counts=True)
    order = np.lexsort((numbers, -counts))[:_CANDIDATES]
    return [int(number) for number in numbers[order]]
