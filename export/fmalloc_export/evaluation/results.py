"""`results.json` of fmalloc-eval: scores as flat records, and the counts that they follow from; no sentence is kept."""

import re
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fmalloc.evaluation.significance import METRICS, RESAMPLES, MetricName, Statistics, signature
from fmalloc.model import devices as environment
from fmalloc_runtime.bundle.manifest import Digest
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.strict import StrictModel

_Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
# A list of numbers that json spread over lines; a line break is never inside a string of JSON.
_SPREAD = re.compile(r"\[\n([^\[\]{}\"]*?)\n\s*\]")


class TestSet(StrictModel):
    """Pairs that were translated and the SHA-256 of them; `samples`: dev pairs that the store kept."""

    __test__ = False

    pairs: Annotated[int, Field(ge=1)]
    sha256: Digest
    samples: bool


class ModelScore(StrictModel):
    """What one model scores on one test set; intervals [low, high] of 95 %; `nll`: nats a target token or None."""

    model: str
    test: str
    bleu: float
    bleu_interval: _Interval
    chrf: float
    chrf_interval: _Interval
    nll: float | None


class Counts(StrictModel):
    """sacreBLEU's sufficient statistics of each sentence: what a paired test needs."""

    model: str
    test: str
    bleu: list[list[int]]
    chrf: list[list[int]]

    def statistics(self, metric: MetricName) -> Statistics:
        """Those of one metric."""
        return Statistics(metric, np.array(getattr(self, metric), dtype=np.int64))


class ModelDifference(StrictModel):
    """Score of a model less that of `against`, 95 % interval, and p-value of a paired bootstrap test."""

    model: str
    against: str
    test: str
    metric: MetricName
    difference: float
    interval: _Interval
    p_value: float


class Results(StrictModel):
    """See docs/formats.md. `models`: SHA-256 of what each is made of."""

    version: Literal[1] = 1
    kind: Literal["store", "bundles", "model"]
    languages: LanguagePair
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
    def _check_cells(self) -> "Results":
        cells = [(score.model, score.test) for score in self.scores]
        known = set(product(self.models, self.tests))
        if cells != [(counts.model, counts.test) for counts in self.statistics] or not known.issuperset(cells):
            raise ValueError("scores and statistics: expected both of the same models and tests, in the same order")
        return self

    @property
    def cells(self) -> dict[tuple[str, str], tuple[ModelScore, Counts]]:
        """Scores and counts by digests of model and test set."""
        return {
            (self.models[score.model], self.tests[score.test].sha256): (score, counts)
            for score, counts in zip(self.scores, self.statistics, strict=True)
        }

    def counts(self, model: str, test: str) -> Counts:
        """Those of one model on one test set; FmallocError if it was not scored before the run was stopped."""
        for counts in self.statistics:
            if (counts.model, counts.test) == (model, test):
                return counts
        raise FmallocError(f"no score of {model} on {test}: the run was stopped; the same command again completes it")

    def alike(self, other: "Results") -> bool:
        """Whether both were measured in the same way."""
        fields = ("kind", "languages", "beam_size", "resamples", "signatures", "versions")
        return all(getattr(self, name) == getattr(other, name) for name in fields)

    def write(self, path: Path) -> None:
        """Replace the file; a list of numbers stays on one line."""
        text = _SPREAD.sub(lambda found: f"[{' '.join(found[1].split())}]", self.to_bytes().decode())
        write_atomically(path, text.encode())


def signatures() -> dict[MetricName, str]:
    """sacreBLEU's signatures of what is measured."""
    return {metric: signature(metric, resampled=True) for metric in METRICS}


def versions() -> dict[str, str]:
    """Installed versions of what scores depend on."""
    return environment.versions() | {"ctranslate2": version("ctranslate2")}
