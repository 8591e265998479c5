"""Rows of the page's table: each method and order once, averaged over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.experiment.goals import gains
from fmalloc.evaluation.matrix import Matrix
from fmalloc.methods.comparison.record import Comparison, MethodRun
from fmalloc.methods.comparison.summary import SINGLE, Summary, summaries
from fmalloc.store.records import Scores
from fmalloc_shared.names import GENERAL


@dataclass(frozen=True)
class Row:
    """`spread`: lowest and highest BLEU of the seeds, as text. Shares are of fine-tuning's gain in BLEU."""

    method: str
    order: int
    seeds: int
    bleu: float | None
    spread: str
    chrf: float | None
    nll: float | None
    share: float | None
    least: float | None
    bleu_forgotten: float | None
    nll_forgotten: float | None
    worst_rise: float | None
    general: float | None
    megabytes: float | None
    minutes: float | None


def rows_of(comparisons: Mapping[int, Comparison]) -> list[Row]:
    """As the first seed has them; other seeds are averaged in."""
    found: dict[tuple[str, tuple[str, ...]], list[_One]] = {}
    orders: list[tuple[str, ...]] = []
    for comparison in comparisons.values():
        single = next((run for run in comparison.runs if run.method == SINGLE), None)
        for run, summary in zip(comparison.runs, summaries(comparison), strict=True):
            if summary.order not in orders:
                orders.append(summary.order)
            found.setdefault((run.method, summary.order), []).append(_One.of(comparison, run, summary, single))
    return [_row(method, orders.index(order) + 1, ones) for (method, order), ones in found.items()]


@dataclass(frozen=True)
class _One:
    summary: Summary
    share: float | None
    least: float | None
    forgotten: float | None
    general: float

    @classmethod
    def of(cls, comparison: Comparison, run: MethodRun, summary: Summary, single: MethodRun | None) -> "_One":
        shares = list(gains(comparison, run, single).values()) if single else []
        known = [share for share in shares if share is not None]
        forgotten = None
        if len(run.rows) == len(run.order):
            scores = [Scores(domains=row.scores, signatures={}) for row in run.rows]
            forgotten = Matrix.of(run.order, scores).forgetting()
        general = run.rows[-1].scores[GENERAL].bleu
        return cls(summary, mean(known) if known else None, min(known, default=None), forgotten, general)


def _row(method: str, order: int, ones: Sequence[_One]) -> Row:
    bleu = [one.summary.bleu for one in ones if one.summary.bleu is not None]
    seconds = _mean([one.summary.seconds for one in ones])
    return Row(
        method=method,
        order=order,
        seeds=len(ones),
        bleu=_mean(bleu),
        spread=f" ({min(bleu):.2f}–{max(bleu):.2f})" if len(bleu) > 1 else "",
        chrf=_mean([one.summary.chrf for one in ones]),
        nll=_mean([one.summary.nll for one in ones]),
        share=_mean([one.share for one in ones]),
        least=_mean([one.least for one in ones]),
        bleu_forgotten=_mean([one.forgotten for one in ones]),
        nll_forgotten=_mean([one.summary.forgetting_nll for one in ones]),
        worst_rise=_mean([one.summary.stability_gap for one in ones]),
        general=_mean([one.general for one in ones]),
        megabytes=_mean([one.summary.bytes / 1e6 for one in ones]),
        minutes=None if seconds is None else seconds / 60,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None
