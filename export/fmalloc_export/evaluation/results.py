"""`results.json` of fmalloc eval: scores as flat records, and the counts behind them; it holds no sentences."""

import re
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fmalloc.evaluation.significance import METRICS, RESAMPLES, MetricName, Statistics, signature
from fmalloc.model import devices
from fmalloc_runtime.bundle.manifest import Digest
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.strict import StrictModel

_Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
# A list of numbers that json spread over several lines; JSON strings contain no line breaks.
_SPREAD = re.compile(r"\[\n([^\[\]{}\"]*?)\n\s*\]")


class TestSet(StrictModel):
    """Number and SHA-256 of the translated pairs; `samples`: whether they are dev pairs that the store keeps."""

    __test__ = False

    pairs: Annotated[int, Field(ge=1)]
    sha256: Digest
    samples: bool


class ModelScore(StrictModel):
    """Scores of one model on one test set, with 95 % intervals [low, high]; `nll`: nats per target token or None."""

    model: str
    test: str
    bleu: float
    bleu_interval: _Interval
    chrf: float
    chrf_interval: _Interval
    nll: float | None


class Counts(StrictModel):
    """sacreBLEU's sufficient statistics per sentence: what a paired test needs."""

    model: str
    test: str
    bleu: list[list[int]]
    chrf: list[list[int]]

    def statistics(self, metric: MetricName) -> Statistics:
        """Those of one metric."""
        return Statistics(metric, np.array(getattr(self, metric), dtype=np.int64))


class ModelDifference(StrictModel):
    """Score of a model minus that of `against`, with 95 % interval and p-value of a paired bootstrap test."""

    model: str
    against: str
    test: str
    metric: MetricName
    difference: float
    interval: _Interval
    p_value: float


class Results(StrictModel):
    """See docs/formats.md. `models`: SHA-256 of each model's files."""

    version: Literal[1] = 1
    kind: Literal["store", "bundles", "model"]
    languages: dict[Literal["source", "target"], str]
    beam_size: int
    resamples: int = RESAMPLES
    signatures: dict[MetricName, str]
    versions: dict[str, str]
    models: dict[str, Digest]
    tests: dict[str, TestSet]
    scores: list[ModelScore]
    statistics: list[Counts]
    differences: list[ModelDifference]

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
    return devices.versions() | {"ctranslate2": version("ctranslate2")}
