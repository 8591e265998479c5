"""Which domain a text belongs to: naive Bayes over the n-gram counts of the live domains.

Two things differ from the textbook. A bucket's rate in a domain has a Gamma prior around its rate in all domains
together (Gamma-Poisson, shape `_SHAPE`), so that a small domain is not ruled out by words it was too small to
show. And because n-grams overlap, evidence is weighted by how much a bucket tells (its divergence from the uniform
posterior, to the power `_INFORMATION`) and divided by the square root of the number of n-grams: on held-out text
that temperature fits one line as well as ten. benchmarks/routing.py measures it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmalloc_runtime.errors import UnknownDomainError
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import BUCKETS, NgramCounts, buckets

AUTO = "auto"
THRESHOLD = 0.6
_SHAPE = 0.05
_INFORMATION = 0.5
# More lines than this no longer change a decision, they only take time; they are taken from the whole document.
_MAXIMUM_LINES = 500
_MAXIMUM_CHARACTERS = 2_000


@dataclass(frozen=True)
class Route:
    """The domain chosen, its posterior, the posteriors of all live domains, and why."""

    domain: str
    score: float
    scores: Mapping[str, float]
    reason: str
    bundle: str


class Router:
    """Chooses among live domains; immutable, so safe to share between threads."""

    def __init__(
        self, counts: Mapping[str, NgramCounts], bundles: Mapping[str, str], threshold: float = THRESHOLD
    ) -> None:
        """`counts` and `bundles` (names of bundles) by domain; `threshold` on the posterior."""
        self.domains = tuple(sorted(counts))
        self._bundles = dict(bundles)
        self._threshold = threshold
        self._table = evidence_table([counts[domain] for domain in self.domains])

    def route(self, lines: Sequence[str], asked: str = AUTO) -> Route:
        """Decide for all `lines` together. Raises UnknownDomainError if `asked` is neither live nor `auto`."""
        if asked != AUTO and asked not in self.domains:
            known = ", ".join(self.domains)
            raise UnknownDomainError(f"domain {asked[:80]!r} is not served: use {AUTO} or one of {known}")
        lines = [line for line in lines if line.strip()]
        scores = dict(zip(self.domains, self.posterior(lines).tolist(), strict=True))
        domain, reason = (asked, "asked for") if asked != AUTO else self._detect(scores, bool(lines))
        return Route(domain, scores[domain], scores, reason, self._bundles[domain])

    def posterior(self, lines: Sequence[str]) -> NDArray[np.float64]:
        """Posterior of each of `domains`, shape (domains,), under a uniform prior."""
        step = -(-len(lines) // _MAXIMUM_LINES) or 1
        found = [buckets(line[:_MAXIMUM_CHARACTERS]) for line in lines[::step]]
        grams = np.concatenate(found) if found else np.zeros(0, dtype=np.uint32)
        evidence = self._table[grams].sum(axis=0, dtype=np.float64) / max(len(grams), 1) ** 0.5
        likelihood = np.exp(evidence - evidence.max())
        return np.asarray(likelihood / likelihood.sum(), dtype=np.float64)

    def _detect(self, scores: Mapping[str, float], any_text: bool) -> tuple[str, str]:
        best = max(self.domains, key=lambda domain: scores[domain])
        fallback = GENERAL if GENERAL in scores else best
        if not any_text:
            return fallback, "no text"
        if len(self.domains) == 1:
            return best, "the only domain served"
        if scores[best] < self._threshold:
            reason = f"unsure: best is {best} with {scores[best]:.2f} < {self._threshold:.2f}"
            return fallback, reason if fallback == GENERAL else f"{reason}, and no {GENERAL} is served"
        return best, "detected"


def evidence_table(counts: Sequence[NgramCounts]) -> NDArray[np.float32]:
    """Evidence in weighted nats that a bucket gives for each domain, shape (BUCKETS, domains); rows have mean 0."""
    table = np.zeros((BUCKETS, len(counts)), dtype=np.float32)
    occurrences = np.stack([count.dense() for count in counts], axis=1)
    seen = np.flatnonzero(occurrences.any(axis=1))
    totals = np.maximum(occurrences.sum(axis=0), 1.0)
    rows = occurrences[seen]
    pooled = rows.sum(axis=1, keepdims=True) / totals.sum()
    logs = np.log((rows + _SHAPE) / (totals + _SHAPE / pooled))
    logs -= logs.mean(axis=1, keepdims=True)
    posterior = np.exp(logs)
    posterior /= posterior.sum(axis=1, keepdims=True)
    entropy = -(posterior * np.log(posterior)).sum(axis=1, keepdims=True)
    information = np.maximum(np.log(len(counts)) - entropy, 0.0)
    table[seen] = logs * information**_INFORMATION
    return table
