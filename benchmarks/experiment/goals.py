"""What the experiment should show; a run that is missing meets nothing."""

from collections.abc import Sequence
from statistics import mean

from benchmarks.common import Goal
from fmalloc.evaluation.matrix import Matrix
from fmalloc.methods.comparison.record import Comparison, MethodRun
from fmalloc.store.records import Scores
from fmalloc_shared.names import GENERAL

_OWN, _PLAIN, _SINGLE = "fmalloc-private", "fmalloc", "single"
_ONE_MODEL = ("sequential", "mixed", "l2", "ewc", "kd", "dynamic-kd", "hft", "k-fpf", "sparse-memory")


def goals(comparison: Comparison) -> list[Goal]:
    """Of the runs of one seed."""
    own, single = _runs(comparison, _OWN), next(iter(_runs(comparison, _SINGLE)), None)
    found = [_gain(comparison, own, single), _least_gain(comparison, own, single)]
    found += [_forgetting(comparison, name) for name in (_PLAIN, _OWN)]
    found += [_general(comparison, own), _bytes(own, single), _lora(comparison, own), _margin(comparison)]
    return found


def gains(comparison: Comparison, run: MethodRun, single: MethodRun) -> dict[str, float | None]:
    """By domain the share of the BLEU that a copy fine-tuned for it alone gains; None where that gains nothing."""
    rows = run.rows * len(run.order) if len(run.rows) < len(run.order) else run.rows  # one, if learned all at once
    scores = [Scores(domains=row.scores, signatures={}) for row in rows]
    base = Scores(domains=comparison.base_scores, signatures={})
    return Matrix.of(run.order, scores, base).gain_reached(_diagonal(single))


def average(run: MethodRun) -> float:
    """BLEU over the learned domains after the last one."""
    return mean(run.rows[-1].scores[domain].bleu for domain in run.order)


def _runs(comparison: Comparison, name: str) -> list[MethodRun]:
    return [run for run in comparison.runs if run.method == name]


def _diagonal(run: MethodRun) -> dict[str, float]:
    """BLEU of each domain right after it was learned."""
    if len(run.rows) < len(run.order):  # learned all at once
        return {domain: run.rows[-1].scores[domain].bleu for domain in run.order}
    return {row.after: row.scores[row.after].bleu for row in run.rows}


def _gain(comparison: Comparison, own: Sequence[MethodRun], single: MethodRun | None) -> Goal:
    shares = [
        [share for share in gains(comparison, run, single).values() if share is not None] for run in own if single
    ]
    value = min((mean(share) for share in shares if share), default=None)
    name = f"{_OWN}: share of single fine-tuning's BLEU gain, mean of the domains, least of the orders"
    return {"name": name, "value": value, "goal": ">= 0.95", "met": value is not None and value >= 0.95}


def _least_gain(comparison: Comparison, own: Sequence[MethodRun], single: MethodRun | None) -> Goal:
    shares = [
        (gain, d) for run in own if single for d, gain in gains(comparison, run, single).items() if gain is not None
    ]
    least = min(shares, default=None)
    value = None if least is None else f"{least[0]:.3f} ({least[1]})"
    name = f"{_OWN}: share of single fine-tuning's BLEU gain, least of the domains"
    return {"name": name, "value": value, "goal": ">= 0.90", "met": least is not None and least[0] >= 0.9}


def _forgetting(comparison: Comparison, name: str) -> Goal:
    lost = [
        abs(score.nll - run.rows[-1].scores[row.after].nll)  # type: ignore[operator]
        for run in _runs(comparison, name)
        for row in run.rows
        if (score := row.scores[row.after]).nll is not None
    ]
    value = max(lost, default=None)
    goal = f"{name}: largest change of a domain's NLL after it was learned"
    return {"name": goal, "value": value, "goal": "exactly 0", "met": value == 0}


def _general(comparison: Comparison, own: Sequence[MethodRun]) -> Goal:
    before = comparison.base_scores[GENERAL].bleu
    value = max((before - run.rows[-1].scores[GENERAL].bleu for run in own), default=None)
    met = value is not None and value <= 0.3
    return {"name": f"{_OWN}: BLEU lost on general text", "value": value, "goal": "<= 0.3", "met": met}


def _bytes(own: Sequence[MethodRun], single: MethodRun | None) -> Goal:
    copy = max((learned.bytes for learned in single.learned.values()), default=0) if single else 0
    value = max((learned.bytes / copy for run in own for learned in run.learned.values() if copy), default=None)
    met = value is not None and value <= 0.15
    return {"name": f"{_OWN}: bytes per domain, of a copy's", "value": value, "goal": "<= 0.15", "met": met}


def _lora(comparison: Comparison, own: Sequence[MethodRun]) -> Goal:
    lora = next(iter(_runs(comparison, "lora")), None)
    least: tuple[float, str] | None = None
    if lora and own:
        other, mine = _diagonal(lora), [_diagonal(run) for run in own]
        least = min((min(run[domain] for run in mine) - other[domain], domain) for domain in other)
    value = None if least is None else f"{least[0]:+.2f} ({least[1]})"
    name = f"{_OWN}: BLEU over LoRA, least of the domains"
    return {"name": name, "value": value, "goal": "> 0", "met": least is not None and least[0] > 0}


def _margin(comparison: Comparison) -> Goal:
    margins = [
        (average(run) - average(other), other.method)
        for run in _runs(comparison, _PLAIN)
        for other in comparison.runs
        if other.method in _ONE_MODEL and (other.order == run.order or other.method == "mixed")
    ]
    least = min(margins, default=None)
    value = None if least is None else f"{least[0]:+.2f} ({least[1]})"
    name = f"{_PLAIN}: average BLEU over the best method that ends with one model"
    return {"name": name, "value": value, "goal": ">= 0.99", "met": least is not None and least[0] >= 0.99}
