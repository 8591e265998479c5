"""Bundles whose manifest has an estimate of what needs editing."""

from pathlib import Path

from fmalloc_runtime.bundle.manifest import Confidence, Reliability, Weights
from fmalloc_runtime.confidence import FEATURES
from tests.support.bundles import write_bundle


def confidence(*, intercept: float = 0.0, **weights: float) -> Confidence:
    """A record with these weights, all others 0."""
    some = Reliability(auroc=0.75, calibration_error=0.05)
    every = Weights(**{name: weights.pop(name, 0.0) for name in FEATURES}, **weights)
    return Confidence(below=50.0, pairs=40, share=0.5, intercept=intercept, weights=every, estimate=some, plain=some)


def write_judged_bundle(bundles: Path, domain: str, *, intercept: float = 0.0, **weights: float) -> Path:
    """As write_bundle, with such a record."""
    return write_bundle(bundles, domain, confidence=confidence(intercept=intercept, **weights))
