"""Confidence intervals of a score and of a difference: bootstrap over sentences, drawn as sacreBLEU draws them.

An interval holds the middle 95 % of the scores of 1,000 draws of as many sentences as there are (Koehn, 2004). The
draws depend only on the number of sentences: two systems on one test set are compared on the same ones, and results
are reproducible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU, CHRF

from fmalloc_shared.errors import FmallocError

MetricName = Literal["bleu", "chrf"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
RESAMPLES = 1000
_SEED = 12345  # sacreBLEU's own; its environment variable would make a store depend on where it was made
_CLASSES: Mapping[MetricName, Any] = {"bleu": BLEU, "chrf": CHRF}


@dataclass(frozen=True)
class Statistics:
    """What a corpus score is computed from: sacreBLEU's counts for every sentence, shape (sentences, counts)."""

    metric: MetricName
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, metric: MetricName, translations: Sequence[str], references: Sequence[str]) -> "Statistics":
        """Count what each translation has in common with its reference."""
        if not translations:
            raise FmallocError("no sentence to score")
        if len(translations) != len(references):
            raise FmallocError(
                f"{len(translations)} translations and {len(references)} references: they must correspond"
            )
        found = _CLASSES[metric]()._extract_corpus_statistics(list(translations), [list(references)])
        return cls(metric, np.array(found, dtype=np.int64))

    def score(self) -> float:
        """The corpus score, 0 to 100."""
        return _score(_CLASSES[self.metric](), self.counts.sum(axis=0))

    def sentences(self) -> NDArray[np.float64]:
        """The score of each sentence by itself, shape (sentences,)."""
        metric = _CLASSES[self.metric]()
        return np.array([_score(metric, counts) for counts in self.counts])

    def interval(self) -> list[float]:
        """[low, high] of the score."""
        return _middle(self.resampled())

    def resampled(self) -> NDArray[np.float64]:
        """The corpus score of each draw, shape (RESAMPLES,)."""
        metric, size = _CLASSES[self.metric](), len(self.counts)
        draws = np.random.default_rng(_SEED).choice(size, size=(RESAMPLES, size), replace=True)
        return np.array([_score(metric, np.bincount(draw, minlength=size) @ self.counts) for draw in draws])


@dataclass(frozen=True)
class Difference:
    """A score less the score it is compared with; `interval`: [low, high]; `p_value` of both being equally good."""

    value: float
    interval: list[float]
    p_value: float


def difference(system: Statistics, against: Statistics) -> Difference:
    """Paired bootstrap test; the p-value is that of `sacrebleu --paired-bs`, or 1 where no draw makes a difference.

    Raises:
        FmallocError: the two are of another metric or number of sentences.
    """
    if (system.metric, len(system.counts)) != (against.metric, len(against.counts)):
        raise FmallocError(
            f"{system.metric} of {len(system.counts)} sentences cannot be compared with {against.metric} of "
            f"{len(against.counts)}: a paired test needs the same test set"
        )
    value = system.score() - against.score()
    differences = system.resampled() - against.resampled()
    sizes = np.abs(differences)
    extreme = int((sizes - sizes.mean() > abs(value)).sum()) if sizes.any() else RESAMPLES
    return Difference(value, _middle(differences), (extreme + 1) / (RESAMPLES + 1))


def sign_test(better: int, worse: int) -> float:
    """The p-value of as many sentences being better, or more, if better and worse are equally likely (one-sided)."""
    changed = better + worse
    return float(sum(comb(changed, count) for count in range(better, changed + 1)) / 2**changed)


def signature(metric: MetricName, *, resampled: bool) -> str:
    """sacreBLEU's signature of a metric with one reference, and of the bootstrap if there was one."""
    instance = _CLASSES[metric]()
    instance.num_refs = 1
    if resampled:
        instance.n_bootstrap, instance.seed = RESAMPLES, str(_SEED)
    return str(instance.get_signature())


def _score(metric: Any, counts: NDArray[np.int64]) -> float:
    return float(metric._compute_score_from_stats(counts.tolist()).score)


def _middle(values: NDArray[np.float64]) -> list[float]:
    """The bounds that leave out 1/40 at each end, as sacreBLEU takes them."""
    ordered = np.sort(values)
    cut = len(ordered) // 40
    return [float(ordered[cut]), float(ordered[len(ordered) - cut - 1])]
