"""The gate that a new version of a domain has to pass before it becomes current: measured, criterion by criterion."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import Field

from fmalloc.corpus import Pair
from fmalloc.evaluation.significance import METRICS, Statistics, difference, sign_test
from fmalloc_shared.strict import Count, StrictModel

Translate = Callable[[Sequence[str]], list[str]]
# Of a test by chance.
_LEVEL = 0.05
_SIGN_METRIC: Literal["chrf"] = "chrf"


class Criterion(StrictModel):
    """One criterion: whether it is met, and what was measured."""

    name: str
    """`dev text`, `learned corrections`, `held-out corrections`, `other domains`."""
    met: bool
    """Whether the new version may become current by it."""
    says: str
    """What was measured, in words."""
    figures: dict[str, float | int | None] = Field(default_factory=dict)
    """What was measured."""


class Verdict(StrictModel):
    """What the gate measured, on a new version beside the one that is current."""

    version: Literal[1] = 1
    """Of the file."""
    domain: str
    """That was corrected."""
    current: str
    """The version that was current."""
    candidate: str
    """The new version: current now if every criterion is met, otherwise deleted."""
    criteria: list[Criterion]
    """The four of them."""
    learned: Count
    """Corrections that the new version learned."""
    held_out: Count
    """Corrections that it did not, to be judged by."""
    refused: dict[str, Count]
    """Corrections that were left out, by reason."""
    seconds: dict[str, float]
    """`sift`: to read and judge the corrections, `learn`, `gate`."""

    @property
    def passed(self) -> bool:
        """Whether every criterion is met."""
        return all(criterion.met for criterion in self.criteria)


class Compared:
    """Two models' translations of the same text."""

    def __init__(self, pairs: Sequence[Pair], current: Translate, candidate: Translate) -> None:
        sources, self.references = [pair.source for pair in pairs], [pair.target for pair in pairs]
        self.current, self.candidate = (model(sources) if sources else [] for model in (current, candidate))

    def statistics(self, metric: Literal["bleu", "chrf"]) -> tuple[Statistics, Statistics]:
        """Of the candidate and of the current version."""
        return tuple(  # type: ignore[return-value]
            Statistics.of(metric, texts, self.references) for texts in (self.candidate, self.current)
        )

    def right(self) -> tuple[int, int]:
        """How many translations are the reference: of the candidate, of the current version."""
        return tuple(  # type: ignore[return-value]
            sum(text == reference for text, reference in zip(texts, self.references, strict=True))
            for texts in (self.candidate, self.current)
        )


def dev_criterion(compared: Compared) -> Criterion:
    """Neither BLEU nor chrF of the domain's dev text may be lower beyond chance (paired bootstrap, 95 %)."""
    figures: dict[str, float | int | None] = {"sentences": len(compared.references)}
    met, said = True, []
    for metric in METRICS:
        candidate, current = compared.statistics(metric)
        found = difference(candidate, current)
        low, high = found.interval
        met = met and high >= 0
        figures |= {metric: candidate.score(), f"{metric}_before": current.score()}
        figures |= {f"{metric}_low": low, f"{metric}_high": high, f"{metric}_p": found.p_value}
        said.append(f"{metric} {current.score():.2f} → {candidate.score():.2f} ({low:+.2f} to {high:+.2f})")
    return Criterion(name="dev text", met=met, says=", ".join(said), figures=figures)


def learned_criterion(compared: Compared) -> Criterion:
    """More of the learned corrections have to be nearer than farther, beyond chance; or more of them right.

    The former is for sentences too long to come out word for word; the latter counts only if no more are farther than
    nearer beyond chance.
    """
    figures = _nearness(compared)
    right, before = compared.right()
    better, worse = int(figures["nearer"] or 0), int(figures["farther"] or 0)
    nearer, farther = sign_test(better, worse) < _LEVEL, sign_test(worse, better) < _LEVEL
    met = nearer or (right > before and not farther)
    return Criterion(name="learned corrections", met=met, says=_said(figures), figures=figures)


def held_out_criterion(compared: Compared) -> Criterion:
    """Of the corrections that were not learned, no more may be farther than nearer, beyond chance."""
    if not compared.references:
        return Criterion(name="held-out corrections", met=True, says="there are none")
    figures = _nearness(compared)
    better, worse = int(figures["nearer"] or 0), int(figures["farther"] or 0)
    met = sign_test(worse, better) >= _LEVEL
    return Criterion(name="held-out corrections", met=met, says=_said(figures), figures=figures)


def others_criterion(before: Mapping[str, str], after: Mapping[str, str]) -> Criterion:
    """Every file that was in the store before has to have its digest."""
    changed = sorted(name for name, digest in before.items() if after.get(name) != digest)
    says = f"{len(before)} files unchanged" if not changed else f"changed: {', '.join(changed[:5])}"
    return Criterion(
        name="other domains", met=not changed, says=says, figures={"files": len(before), "changed": len(changed)}
    )


def _nearness(compared: Compared) -> dict[str, float | int | None]:
    candidate, current = compared.statistics(_SIGN_METRIC)
    gains = candidate.sentences() - current.sentences()
    right, before = compared.right()
    return {
        "sentences": len(gains),
        "nearer": int((gains > 0).sum()),
        "farther": int((gains < 0).sum()),
        "right": right,
        "right_before": before,
        "chrf": candidate.score(),
        "chrf_before": current.score(),
    }


def _said(figures: Mapping[str, float | int | None]) -> str:
    return (
        f"{figures['nearer']} nearer, {figures['farther']} farther of {figures['sentences']}; right "
        f"{figures['right_before']} → {figures['right']}; chrf {figures['chrf_before']:.2f} → {figures['chrf']:.2f}"
    )
