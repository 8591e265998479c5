"""Train-test exposure: how much of a test set stands in the training text already, word for word or nearly so.

A score on sentences that training has seen says little of what was learned. So every test source is compared with every
training source, and the nearest one's translation is scored as if a translation memory had answered. Similarity is that
of the project's translation memories, 1 less the edits per character of the longer text (Levenshtein, 1966), between
texts in NFC without invisible characters and repeated spaces. Nothing is looked up by an index: no near source is
missed. Training text is what training sees, after cleaning and without the pairs that are in dev or test as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from fmalloc.corpus import Pair, read_corpus
from fmalloc.evaluation.evaluate import score
from fmalloc_runtime.memory.folding import folded
from fmalloc_shared.commands.progress import bar
from fmalloc_shared.languages import LanguagePair

THRESHOLDS = (0.9, 0.75, 0.5)


@dataclass(frozen=True)
class Nearest:
    """The training source that is most similar to a test source, 0 to 1, and its translation; of several, the first."""

    similarity: float
    source: str
    target: str


class Exposure(TypedDict):
    """Exposure of a test set of `lines` to `pairs` of training text.

    exact: share of the lines whose source is in the training text; near: share with a source at least as similar as
    each of the THRESHOLDS. similarity: of the nearest sources, on average. memory: BLEU and chrF of their translations,
    with intervals.
    """

    lines: int
    pairs: int
    exact: float
    near: dict[str, float]
    similarity: float
    memory: dict[str, float | list[float] | None]


def exposure(corpora: Path, domains: Sequence[str], languages: LanguagePair) -> dict[str, Exposure]:
    """The exposure of each domain of the folder `corpora`, on its whole test set.

    On one core, half a minute for 1,000 test lines and 17,000 training pairs; it grows with the product of both.

    Raises:
        FmallocError: as of read_corpus.
    """
    found = {}
    for domain in domains:
        corpus = read_corpus(corpora / domain, languages)
        with bar(f"exposure of {domain}", len(corpus.test)) as advance:
            found[domain] = exposure_of(corpus.train, corpus.test, advance)
    return found


def exposure_of(train: Sequence[Pair], test: Sequence[Pair], advance: Callable[[int], None] | None = None) -> Exposure:
    """The exposure of a test set; both parts have pairs."""
    found = nearest([pair.source for pair in test], train, advance)
    similarities = [one.similarity for one in found]
    memory = score([one.target for one in found], [pair.target for pair in test], intervals=True).score
    return {
        "lines": len(test),
        "pairs": len(train),
        "exact": _share(similarities, 1.0),
        "near": {str(threshold): _share(similarities, threshold) for threshold in THRESHOLDS},
        "similarity": sum(similarities) / len(similarities),
        "memory": memory.model_dump(exclude={"nll"}),
    }


def nearest(
    sources: Sequence[str], train: Sequence[Pair], advance: Callable[[int], None] | None = None
) -> list[Nearest]:
    """The nearest training source of each source; `advance` is called with the number that are done.

    Raises:
        ValueError: there is no training pair.
    """
    firsts: dict[str, Pair] = {}
    for pair in train:
        firsts.setdefault(folded(pair.source), pair)
    if not firsts:
        raise ValueError("no training pair to be near to")
    texts, found = list(firsts), []
    for source in sources:
        text = folded(source)
        similarity = 1.0
        if text not in firsts:
            text, similarity, _ = process.extractOne(
                text, texts, scorer=Levenshtein.normalized_similarity, processor=None
            )
        found.append(Nearest(similarity, *firsts[text]))
        if advance:
            advance(1)
    return found


def _share(similarities: Sequence[float], least: float) -> float:
    return sum(similarity >= least for similarity in similarities) / len(similarities)
