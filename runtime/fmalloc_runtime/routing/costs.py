"""`routing.json`: the score matrix of domains and models, and the threshold on the posterior with the least loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fmalloc_runtime.bundle.manifest import Count, Digest, DomainName
from fmalloc_shared.strict import StrictModel

ROUTING_COSTS_FILE = "routing.json"
Metric = Literal["bleu", "chrf"]
_Share = Annotated[float, Field(ge=0, le=1)]
_Points = Annotated[float, Field(ge=0, le=100)]


class Score(StrictModel):
    """Scores of one model on the text of one domain, 0 to 100."""

    bleu: _Points
    chrf: _Points


class ScoredText(StrictModel):
    """The held-out text of a domain that was scored: number of lines, SHA-256 of the pairs."""

    lines: Annotated[int, Field(ge=1)]
    digest: Digest


class Expected(StrictModel):
    """The expected loss of routing, in points of the metric, compared with routing each text to its own domain.

    At threshold 0 (always the most probable domain), at the default, at the chosen one, with all text in general, and
    with each text at the model that translates its domain best (`oracle`: below 0 if that is another domain's).
    """

    zero: float
    default: float
    chosen: float
    always_general: float | None
    oracle: float


class Simulation(StrictModel):
    """How the threshold was chosen: `weights` by consecutive lines per document, domains equally frequent."""

    weights: Annotated[dict[str, _Share], Field(min_length=1)]
    documents: Count
    default: _Share
    expected: Expected


class RoutingCosts(StrictModel):
    """`matrix[model][text]`: scores of one domain's model on another's held-out text; `bundles` are the models."""

    version: Literal[1] = 1
    threshold: _Share
    metric: Metric
    bundles: Annotated[dict[DomainName, str], Field(min_length=1)]
    texts: dict[DomainName, ScoredText]
    matrix: dict[DomainName, dict[DomainName, Score]]
    beam_size: Annotated[int, Field(ge=1)]
    signatures: dict[Metric, str]
    simulation: Simulation

    @model_validator(mode="after")
    def _complete(self) -> Self:
        domains = set(self.bundles)
        if set(self.texts) != domains:
            raise ValueError(f"texts: expected those of {', '.join(sorted(domains))}")
        if set(self.matrix) != domains or any(set(row) != domains for row in self.matrix.values()):
            raise ValueError(f"matrix: expected a row and a column for each of {', '.join(sorted(domains))}")
        return self

    @classmethod
    def of(cls, bundles: Path) -> Self | None:
        """Read `bundles`/routing.json; None if there is none, FmallocError if it is malformed."""
        path = bundles / ROUTING_COSTS_FILE
        return cls.read(path) if path.exists() else None

    def cost(self, text: str, chosen: str) -> float:
        """Points of the metric that a domain's text loses with the model `chosen`; below 0 if it gains."""
        return self._quality(text, text) - self._quality(chosen, text)

    def stale(self, live: Mapping[str, str]) -> str | None:
        """A warning if the live bundles (by domain) differ from those that were measured, else None."""
        changed = sorted(domain for domain in {*live, *self.bundles} if live.get(domain) != self.bundles.get(domain))
        if not changed:
            return None
        return f"{ROUTING_COSTS_FILE} is for other bundles of {', '.join(changed)}: run fmalloc route-costs again"

    def _quality(self, model: str, text: str) -> float:
        score = self.matrix[model][text]
        return score.bleu if self.metric == "bleu" else score.chrf
