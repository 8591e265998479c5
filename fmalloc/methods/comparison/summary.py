"""The results of each run of a comparison in one row of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fmalloc.evaluation.matrix import Matrix, Metric, stability_gap
from fmalloc.methods.comparison.record import Comparison, MethodRun
from fmalloc.store.records import Score, Scores

SINGLE = "single"


@dataclass(frozen=True)
class Summary:
    """Averages over the learned domains after the last task; NLL in nats per target token.

    bleu, chrf, nll: averages. general_nll: of the general domain. forgetting_ratio: of BLEU; forgetting_nll: mean rise
    of earlier tasks' NLL. transfer_nll: forward transfer, as a fall of NLL. gain: by task the share of the NLL that
    fine-tuning it alone gains, right after it was learned. stability_gap: the worst rise of an earlier domain's dev NLL
    during learning. seconds, bytes: means over the tasks. None: not defined, or not measured.
    """

    method: str
    order: tuple[str, ...]
    bleu: float | None
    chrf: float | None
    nll: float | None
    general_nll: float | None
    forgetting_ratio: float | None
    forgetting_nll: float | None
    transfer_nll: float | None
    gain: dict[str, float | None]
    stability_gap: float | None
    capacity_used: float | None
    bytes: float
    seconds: float | None

    @property
    def mean_gain(self) -> float | None:
        """Mean over the tasks."""
        known = [value for value in self.gain.values() if value is not None]
        return sum(known) / len(known) if known and len(known) == len(self.gain) else None

    @property
    def least_gain(self) -> float | None:
        """Of the task that follows fine-tuning least."""
        known = [value for value in self.gain.values() if value is not None]
        return min(known) if known and len(known) == len(self.gain) else None


def summaries(comparison: Comparison) -> list[Summary]:
    """One per run."""
    single = next((run for run in comparison.runs if run.method == SINGLE), None)
    reached = {row.after: row.scores[row.after] for row in single.rows} if single else {}
    return [_summary(run, comparison.base_scores, reached) for run in comparison.runs]


def _summary(run: MethodRun, base: Mapping[str, Score], single: Mapping[str, Score]) -> Summary:
    # A joint run has only its last row; there is nothing it could have forgotten.
    joint = len(run.rows) < len(run.order)
    rows = run.rows * len(run.order) if joint else run.rows
    scores = [Scores(domains=row.scores, signatures={}) for row in rows]
    bleu, chrf, nll = (_matrix(run.order, scores, base, metric) for metric in ("bleu", "chrf", "nll"))
    average = nll.average()
    general = rows[-1].scores["general"].nll
    gaps = stability_gap(run.order, {task: learned.curve for task, learned in run.learned.items()})
    known_gaps = [gap for gap in gaps.values() if gap is not None]
    times = [learned.seconds for learned in run.learned.values()]
    known_times = [seconds for seconds in times if seconds is not None]
    return Summary(
        method=run.method,
        order=tuple(run.order),
        bleu=bleu.average(),
        chrf=chrf.average(),
        nll=None if average is None else -average,
        general_nll=general,
        forgetting_ratio=None if joint else bleu.forgetting_ratio(),
        forgetting_nll=None if joint else nll.forgetting(),
        transfer_nll=None if joint else nll.forward_transfer(),
        gain=nll.gain_reached({task: -score.nll for task, score in single.items() if score.nll is not None}),
        stability_gap=max(known_gaps) if known_gaps else None,
        capacity_used=run.capacity_used,
        bytes=sum(learned.bytes for learned in run.learned.values()) / len(run.order),
        seconds=sum(known_times) / len(run.order) if len(known_times) == len(times) else None,
    )


def _matrix(tasks: Sequence[str], rows: Sequence[Scores], base: Mapping[str, Score], metric: Metric) -> Matrix:
    return Matrix.of(tasks, rows, Scores(domains=dict(base), signatures={}), metric)
