"""`results.json` of fmalloc eval: scores as flat records, and the counts behind them; it holds no sentences."""

import re
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fmalloc.evaluation.significance import METRICS, RESAMPLES, MetricName, Statistics, signature
from fmalloc.model import devices
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.strict import Digest, StrictModel

_Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
# A list of numbers that json spread over several lines; JSON strings contain no line breaks.
_SPREAD = re.compile(r"\[\n([^\[\]{}\"]*?)\n\s*\]")


class TestSet(StrictModel):
    """Pairs that were translated."""

    __test__ = False

    pairs: Annotated[int, Field(ge=1)]
    """How many."""
    sha256: Digest
    """Of the pairs."""
    samples: bool
    """Whether they are dev pairs that a store kept."""


class ModelScore(StrictModel):
    """Scores of one model on one test set."""

    model: str
    """Name."""
    test: str
    """Name."""
    bleu: float
    """0 to 100."""
    bleu_interval: _Interval
    """Low and high end, 95 %."""
    chrf: float
    """0 to 100."""
    chrf_interval: _Interval
    """Low and high end, 95 %."""
    nll: float | None
    """Nats per target token; null for bundles."""


class Counts(StrictModel):
    """sacreBLEU's sufficient statistics per sentence: what a paired test needs."""

    model: str
    """Name."""
    test: str
    """Name."""
    bleu: list[list[int]]
    """Per sentence: lengths of both sides, matching n-grams of order 1 to 4, then all in the translation."""
    chrf: list[list[int]]
    """Per sentence, for each order 1 to 6: n-grams of the translation, of the reference, and the matching ones."""

    def statistics(self, metric: MetricName) -> Statistics:
        """Those of one metric."""
        return Statistics(metric, np.array(getattr(self, metric), dtype=np.int64))


class ModelDifference(StrictModel):
    """Score of a model minus that of `against`, with 95 % interval and p-value of a paired bootstrap test."""

    model: str
    """Name."""
    against: str
    """A model of this file, or `file:model`."""
    test: str
    """Name."""
    metric: MetricName
    """`bleu` or `chrf`."""
    difference: float
    """Score of model minus that of against."""
    interval: _Interval
    """Low and high end, 95 %."""
    p_value: float
    """That of `sacrebleu --paired-bs`; 1 where no draw makes a difference."""


class Results(StrictModel):
    """results.json: what was evaluated and how, the scores, and the counts behind them."""

    version: Literal[1] = 1
    """Of this file."""
    kind: Literal["store", "bundles", "model"]
    """What was evaluated."""
    languages: LanguagePair
    """Of the pair."""
    beam_size: int
    """Of the search."""
    resamples: int = RESAMPLES
    """Bootstrap draws."""
    signatures: dict[MetricName, str]
    """Signature of sacreBLEU."""
    versions: dict[str, str]
    """Of the libraries."""
    models: dict[str, Digest]
    """SHA-256 of each model's files."""
    tests: dict[str, TestSet]
    """By name."""
    scores: list[ModelScore]
    """One record per model and test."""
    statistics: list[Counts]
    """In the order of scores."""
    differences: list[ModelDifference]
    """Empty without `--against`."""

    @model_validator(mode="after")
    def _check_scored(self) -> "Results":
        scored = [(score.model, score.test) for score in self.scores]
        known = set(product(self.models, self.tests))
        if scored != [(counts.model, counts.test) for counts in self.statistics] or not known.issuperset(scored):
            raise ValueError("scores and statistics: expected both of the same models and tests, in the same order")
        return self

    @property
    def by_digest(self) -> dict[tuple[str, str], tuple[ModelScore, Counts]]:
        """Scores and counts by digests of model and test set."""
        return {
            (self.models[score.model], self.tests[score.test].sha256): (score, counts)
            for score, counts in zip(self.scores, self.statistics, strict=True)
        }

    def counts(self, model: str, test: str) -> Counts:
        """Those of one model on one test set; FmallocError if the run was interrupted before."""
        for counts in self.statistics:
            if (counts.model, counts.test) == (model, test):
                return counts
        raise FmallocError(f"no score of {model} on {test}: the run was interrupted; repeat the command to complete it")

    def alike(self, other: "Results") -> bool:
        """Whether both were measured in the same way."""
        fields = ("kind", "languages", "beam_size", "resamples", "signatures", "versions")
        return all(getattr(self, name) == getattr(other, name) for name in fields)

    def write(self, path: Path) -> None:
        """Replace the file; each list of numbers is written on one line."""
        text = _SPREAD.sub(lambda found: f"[{' '.join(found[1].split())}]", self.to_bytes().decode())
        write_atomically(path, text.encode())


def signatures() -> dict[MetricName, str]:
    """sacreBLEU's signatures of the metrics."""
    return {metric: signature(metric, resampled=True) for metric in METRICS}


def versions() -> dict[str, str]:
    """Installed versions of the libraries that scores depend on."""
    return devices.versions() | {"ctranslate2": devices.installed_version("ctranslate2")}
