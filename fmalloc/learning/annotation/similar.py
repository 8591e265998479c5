"""Pairs whose sources have beside them how a similar source of the domain was translated (Bulté and Tezcan 2019)."""

from collections.abc import Sequence

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from fmalloc.corpus import Pair
from fmalloc_shared.annotations import Markers, memory_note, with_notes
from fmalloc_shared.commands.progress import bar

# Pairs that a similar one is looked for among, at most.
MOST_SEARCHED = 20_000
# Of the edits per character of the longer source, taken from 1. Below it, a pair says little about another.
LEAST_SIMILAR = 0.5
_TOGETHER = 100


def with_similar(pairs: Sequence[Pair], among: Sequence[Pair], markers: Markers) -> list[Pair]:
    """Each pair that another source is similar to, with the translation of the most similar one."""
    sources, found = [pair.source for pair in among], []
    with bar("similar sources", len(pairs)) as advance:
        for first in range(0, len(pairs), _TOGETHER):
            asked = pairs[first : first + _TOGETHER]
            similar = process.cdist(
                [pair.source for pair in asked],
                sources,
                scorer=Levenshtein.normalized_similarity,
                score_cutoff=LEAST_SIMILAR,
                workers=-1,
            )
            similar[similar >= 1] = 0  # a source is no help to itself
            for pair, row in zip(asked, similar, strict=True):
                best = int(np.argmax(row))
                if row[best] > 0 and not markers.are_in(pair.source):
                    note = memory_note(len(pair.source), among[best].target, markers)
                    found.append(Pair(with_notes(pair.source, [note]), pair.target))
            advance(len(asked))
    return found
