"""Whether a translation needs editing: an estimate from what its model knows, without a reference.

A logistic regression over five features, fitted at export on the domain's held-out pairs (`Confidence` of the manifest,
export's checks/confidence.py). All of them are there after the search: the estimate costs no pass of the model.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fmalloc_runtime.bundle.manifest import Confidence, Weights
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.ngrams import BUCKETS, NgramCounts, grams, hashed

FEATURES: tuple[str, ...] = tuple(Weights.model_fields)
# Beyond it the logistic function is 0 or 1 to the last bit that is shown.
_LARGEST = 30.0


class Evidence:
    """The features of translations of one domain. `counts`: of the domain's source text."""

    def __init__(self, counts: NgramCounts, tokenizer: Tokenizer) -> None:
        self._seen: NDArray[np.bool_] = np.zeros(BUCKETS, dtype=np.bool_)
        self._seen[counts.buckets] = True
        self._tokenizer = tokenizer

    def of(self, source: str, translation: str, log_probability: float) -> tuple[float, ...]:
        """The features of one sentence in the order of FEATURES, see Weights; neither text is blank.

        `log_probability`: of the translation, in nats per token.
        """
        (words,) = grams(source, ("words",))
        coverage = float(self._seen[hashed(words)].mean()) if words else 1.0
        known = self._tokenizer.knows
        unknown = sum(not (character.isspace() or known(character)) for character in source) / max(len(source), 1)
        length = math.log(max(len(source), 1))
        ratio = abs(math.log(max(len(translation), 1)) - length)
        return log_probability, ratio, length, coverage, unknown


class Estimator:
    """Estimates whether translations of one bundle need editing."""

    def __init__(self, confidence: Confidence, evidence: Evidence) -> None:
        self._intercept = confidence.intercept
        self._weights = tuple(getattr(confidence.weights, name) for name in FEATURES)
        self._evidence = evidence

    def needs_editing(self, source: str, translation: str, log_probability: float) -> float:
        """The estimated probability; arguments as of Evidence.of."""
        values = self._evidence.of(source, translation, log_probability)
        logit = self._intercept + sum(weight * value for weight, value in zip(self._weights, values, strict=True))
        return 1 / (1 + math.exp(-max(-_LARGEST, min(_LARGEST, logit))))
