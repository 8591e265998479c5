"""`routing.json`: the score matrix of domains and models, and the threshold on the posterior with the least loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fmalloc_shared.names import DomainName
from fmalloc_shared.strict import Count, Digest, StrictModel

ROUTING_COSTS_FILE = "routing.json"
# Finished scores while they are measured.
PARTIAL_FILE = f".{ROUTING_COSTS_FILE}.scores"
Metric = Literal["bleu", "chrf"]
_Share = Annotated[float, Field(ge=0, le=1)]
_Points = Annotated[float, Field(ge=0, le=100)]


class Score(StrictModel):
    """Scores of one model on the text of one domain, 0 to 100."""

    bleu: _Points
    """0 to 100."""
    chrf: _Points
    """0 to 100."""


class ScoredText(StrictModel):
    """The held-out text of a domain that was scored."""

    lines: Annotated[int, Field(ge=1)]
    """How many."""
    digest: Digest
    """SHA-256 of the pairs."""


class Expected(StrictModel):
    """Mean loss of routing per document, in points of the metric, compared with sending each text to its own domain."""

    zero: float
    """At threshold 0: the likeliest domain always."""
    default: float
    """At the default threshold."""
    chosen: float
    """At the chosen threshold."""
    always_general: float | None
    """With all text sent to `general`; null without that domain."""
    oracle: float
    """With every domain's text sent to the model that translates it best; below 0 where that is not its own."""


class Simulation(StrictModel):
    """How the threshold was chosen: on documents of consecutive held-out lines, all domains equally frequent."""

    weights: Annotated[dict[str, _Share], Field(min_length=1)]
    """Lines per document: its share."""
    documents: Count
    """How many."""
    default: _Share
    """The threshold without this file."""
    expected: Expected
    """Mean loss per document."""


class RoutingCosts(StrictModel):
    """The content of routing.json: the score matrix, and the threshold with the least loss."""

    version: Literal[1] = 1
    """Of this file."""
    threshold: _Share
    """Of the posterior: below it, text goes to `general`."""
    metric: Metric
    """What losses are counted in."""
    bundles: Annotated[dict[DomainName, str], Field(min_length=1)]
    """Name of the bundle that was measured, per domain."""
    texts: dict[DomainName, ScoredText]
    """Held-out text per domain."""
    matrix: dict[DomainName, dict[DomainName, Score]]
    """`matrix.it.law` is the model of `it` on text of `law`; a row and a column per domain of `bundles`."""
    beam_size: Annotated[int, Field(ge=1)]
    """Of the search."""
    signatures: dict[Metric, str]
    """Signatures of sacreBLEU, by metric."""
    simulation: Simulation
    """How the threshold was found."""

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
        return f"{ROUTING_COSTS_FILE} is for other bundles of {', '.join(changed)}: run fmalloc routing costs again"

    def _quality(self, model: str, text: str) -> float:
        score = self.matrix[model][text]
        return score.bleu if self.metric == "bleu" else score.chrf
