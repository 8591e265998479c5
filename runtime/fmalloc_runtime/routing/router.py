"""Finds the domain of a text: naive Bayes over the n-gram counts of the live domains.

It differs from the textbook in three ways. A bucket's rate in a domain has a Gamma prior around its rate in all domains
together (Gamma-Poisson, shape `_SHAPE`), so that words that a small domain happens not to contain do not rule it out.
Evidence is weighted by the information of a bucket (its divergence from the uniform posterior, to the power
`_INFORMATION`) and by the kind of n-gram. The evidence of a line is divided by the square root of its number of
n-grams, since they overlap, and that of a document by the square root of its number of lines, since they share a topic:
on held-out text this temperature fits one line as well as ten. benchmarks/serving/routing.py measures it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmalloc_runtime.errors import UnknownDomainError
from fmalloc_runtime.routing.costs import ROUTING_COSTS_FILE, RoutingCosts
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import BUCKETS, NgramCounts, grams, hashed

AUTO = "auto"
THRESHOLD = 0.6
_SHAPE = 0.05
_INFORMATION = 0.5
# By kind of n-gram. Character trigrams add no information to the others; leaving them out saves time.
WEIGHTS = {"characters 2": 0.65, "characters 4": 1.5, "words": 1.5, "word pairs": 1.3}
# Longer lines are split. Beyond the maximum number of lines decisions no longer change, so that a longer document is
# sampled evenly.
_LINE_CHARACTERS = 500
_MAXIMUM_LINES = 200


@dataclass(frozen=True)
class Route:
    """The chosen domain and its bundle, its posterior and those of all live domains, and the reason."""

    domain: str
    score: float
    scores: Mapping[str, float]
    reason: str
    bundle: str


class Router:
    """Chooses among the live domains. Immutable, so safe to share between threads."""

    def __init__(
        self,
        counts: Mapping[str, NgramCounts],
        bundles: Mapping[str, str],
        threshold: float = THRESHOLD,
        origin: str = "by default",
    ) -> None:
        """`counts` and `bundles` (their names) by domain; `origin` says where the `threshold` comes from."""
        self.domains = tuple(sorted(counts))
        self.threshold = threshold
        self._bundles = dict(bundles)
        self._origin = origin
        self._table = evidence_table([counts[domain] for domain in self.domains])

    @classmethod
    def of(cls, counts: Mapping[str, NgramCounts], bundles: Mapping[str, str], costs: RoutingCosts | None) -> "Router":
        """A router with the threshold of `costs`, or the default one without."""
        if costs is None:
            return cls(counts, bundles)
        return cls(counts, bundles, costs.threshold, f"by {ROUTING_COSTS_FILE}")

    def route(self, lines: Sequence[str], asked: str = AUTO) -> Route:
        """Route all `lines` together; UnknownDomainError if `asked` is neither live nor `auto`."""
        if asked != AUTO and asked not in self.domains:
            known = ", ".join(self.domains)
            raise UnknownDomainError(f"domain {asked[:80]!r} is not served: use {AUTO} or one of {known}")
        lines = [line for line in lines if line.strip()]
        scores = dict(zip(self.domains, self.posterior(lines).tolist(), strict=True))
        if asked == AUTO:
            domain, reason = detect(scores, bool(lines), self.threshold, self._origin)
        else:
            domain, reason = asked, "asked for"
        return Route(domain, scores[domain], scores, reason, self._bundles[domain])

    def posterior(self, lines: Sequence[str]) -> NDArray[np.float64]:
        """Posterior of each of `domains` under a uniform prior, shape (domains,)."""
        evidence = np.zeros(len(self.domains))
        pieces = _pieces(lines)
        for piece in pieces:
            evidence += self._evidence(piece)
        evidence /= max(len(pieces), 1) ** 0.5
        likelihood = np.exp(evidence - evidence.max())
        return np.asarray(likelihood / likelihood.sum(), dtype=np.float64)

    def _evidence(self, line: str) -> NDArray[np.float32]:
        """Evidence of one line for each of `domains`, shape (domains,)."""
        found: list[int] = []
        weights: list[float] = []
        for weight, distinct in zip(WEIGHTS.values(), grams(line, WEIGHTS), strict=True):
            found += hashed(distinct)
            weights += [weight] * len(distinct)
        evidence = np.array(weights, dtype=np.float32) @ self._table[found]
        return np.asarray(evidence / max(len(found), 1) ** 0.5, dtype=np.float32)


def detect(
    scores: Mapping[str, float], any_text: bool, threshold: float = THRESHOLD, origin: str = "by default"
) -> tuple[str, str]:
    """The domain of the largest posterior, or `general` if that is below the threshold, and the reason."""
    best = max(scores, key=lambda domain: scores[domain])
    fallback = GENERAL if GENERAL in scores else best
    if not any_text:
        return fallback, "no text"
    if len(scores) == 1:
        return best, "the only domain served"
    if scores[best] < threshold:
        reason = f"unsure: best is {best} with {scores[best]:.2f}, threshold {threshold:.2f} {origin}"
        return fallback, reason if fallback == GENERAL else f"{reason}, and no {GENERAL} is served"
    return best, "detected"


def _pieces(lines: Sequence[str]) -> list[str]:
    """Lines, long ones in pieces; an even sample if there are too many."""
    pieces = [(line, start) for line in lines for start in range(0, len(line), _LINE_CHARACTERS)]
    count = min(len(pieces), _MAXIMUM_LINES)
    chosen = (pieces[index * len(pieces) // count] for index in range(count))
    return [line[start : start + _LINE_CHARACTERS] for line, start in chosen]


def evidence_table(counts: Sequence[NgramCounts]) -> NDArray[np.float32]:
    """Evidence of each bucket for each domain in weighted nats, shape (BUCKETS, domains); rows have mean 0."""
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
