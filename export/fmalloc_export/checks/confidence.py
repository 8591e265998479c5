"""Which translations need editing: an estimate calibrated on held-out pairs, and how far it can be relied on.

The label is a translation's own chrF with the reference, below a fixed number: so an estimate means the same in every
domain, and says of a weak model that most of what it writes needs editing. The translations are those that quality is
measured on; the features are those of fmalloc_runtime.confidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.evaluation.significance import Statistics
from fmalloc_runtime.bundle.manifest import Confidence, Manifest, Reliability, Weights
from fmalloc_runtime.confidence import FEATURES, Evidence
from fmalloc_runtime.live.translator import Translation

# A translation of which half the character n-grams are not the reference's is written anew rather than mended.
NEEDS_EDITING = 50.0
# Held-out translations of either kind without which nothing is fitted, and how many of the rarer kind each feature
# needs (Peduzzi et al. 1996): with fewer, more features fit chance.
FEWEST = 5
_PER_FEATURE = 10
_FOLDS, _SEED = 10, 1
_BINS = 10
# Of the squared weights of standardised features, against the log-likelihood of all pairs.
_PENALTY = 1.0
# A feature that varies less is not blown up: elsewhere it may vary more.
_LEAST_DEVIATION = 0.05
_STEPS = 50
_LARGEST = 30.0

Floats = NDArray[np.float64]


def calibrate(pairs: Sequence[Pair], translations: Sequence[Translation], evidence: Evidence) -> Confidence | None:
    """Fit the estimate on held-out pairs and their translations; None if fewer than FEWEST need editing, or do not.

    Of the features, in their order, one per ten translations of the rarer kind is used.
    """
    kept = [(pair, found) for pair, found in zip(pairs, translations, strict=True) if found.score is not None]
    if not kept:
        return None
    scores = Statistics.of("chrf", [found.text for _, found in kept], [pair.target for pair, _ in kept]).sentences()
    wrong = (scores < NEEDS_EDITING).astype(np.float64)
    rarer = int(min(wrong.sum(), len(wrong) - wrong.sum()))
    if rarer < FEWEST:
        return None
    features = np.array([evidence.of(pair.source, found.text, found.score or 0.0) for pair, found in kept])
    features[:, max(1, rarer // _PER_FEATURE) :] = 0.0
    fitted = Logistic.fit(features, wrong)
    plain = 1 - np.exp(features[:, FEATURES.index("log_probability")])
    return Confidence(
        below=NEEDS_EDITING,
        pairs=len(kept),
        share=round(float(wrong.mean()), 4),
        intercept=round(fitted.intercept, 4),
        weights=Weights(**dict(zip(FEATURES, (round(weight, 4) for weight in fitted.weights.tolist()), strict=True))),
        estimate=reliability(cross_validated(features, wrong), wrong),
        plain=reliability(plain, wrong),
    )


@dataclass(frozen=True)
class Logistic:
    """A logistic regression: `weights` (features,), of features as they are."""

    intercept: float
    weights: Floats

    @classmethod
    def fit(cls, features: Floats, labels: Floats) -> "Logistic":
        """Newton's method with a ridge penalty on the weights of standardised features.

        `features` (sentences, features), `labels` (sentences,) of 0 and 1. A feature that never changes has weight 0.
        """
        means, scale = features.mean(axis=0), np.maximum(features.std(axis=0), _LEAST_DEVIATION)
        columns = np.column_stack([np.ones(len(features)), (features - means) / scale])
        penalty = np.diag([0.0, *[_PENALTY] * features.shape[1]])
        weights = np.zeros(columns.shape[1])
        for _ in range(_STEPS):
            found = _logistic(columns @ weights)
            slope = columns.T @ (found - labels) + penalty @ weights
            curvature = (columns * (found * (1 - found))[:, None]).T @ columns + penalty
            step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), slope)
            weights = weights - step
            if np.abs(step).max() < 1e-9:
                break
        own = weights[1:] / scale
        return cls(float(weights[0] - own @ means), own)

    def predict(self, features: Floats) -> Floats:
        """Probability of each sentence, (sentences,)."""
        return _logistic(self.intercept + features @ self.weights)


def described(manifest: Manifest) -> str:
    """How far the estimate can be relied on, or why there is none."""
    found = manifest.confidence
    if found is None:
        measured = manifest.quality.pairs if manifest.quality else 0
        return (
            f"no estimate of what needs editing: of {measured} held-out pairs fewer than {FEWEST} are on either side "
            f"of chrF {NEEDS_EDITING:g}"
        )
    return (
        f"what needs editing (chrF below {found.below:g}: {found.share:.0%} of {found.pairs} held-out pairs) is told "
        f"with AUROC {found.estimate.auroc:.3f}, calibration error {found.estimate.calibration_error:.3f}; by plain "
        f"log-probability {found.plain.auroc:.3f} and {found.plain.calibration_error:.3f}"
    )


def cross_validated(features: Floats, labels: Floats) -> Floats:
    """For each sentence the estimate of a regression that was fitted without it and its fold, (sentences,)."""
    found = np.empty(len(labels))
    folds = np.random.default_rng(_SEED).permutation(len(labels)) % _FOLDS
    for fold in range(_FOLDS):
        found[folds == fold] = Logistic.fit(features[folds != fold], labels[folds != fold]).predict(
            features[folds == fold]
        )
    return found


def reliability(estimates: Floats, labels: Floats) -> Reliability:
    """Both figures of estimates in [0, 1] against labels of 0 and 1, neither of them missing."""
    return Reliability(
        auroc=round(auroc(estimates, labels), 4), calibration_error=round(calibration_error(estimates, labels), 4)
    )


def auroc(estimates: Floats, labels: Floats) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic; ties count half."""
    wrong, right = estimates[labels == 1], np.sort(estimates[labels == 0])
    below = np.searchsorted(right, wrong, side="left") + np.searchsorted(right, wrong, side="right")
    return float(below.mean() / (2 * len(right)))


def calibration_error(estimates: Floats, labels: Floats) -> float:
    """Expected calibration error (Naeini, Cooper and Hauskrecht 2015), in ten bins of equal width."""
    bins = np.minimum((estimates * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=estimates - labels, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def _logistic(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -_LARGEST, _LARGEST))))
