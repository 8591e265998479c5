"""The matrix of scores, and the measures that it comes down to."""

from collections.abc import Callable, Sequence

from fmalloc.evaluation.matrix import Matrix, Measures, stability_gap
from fmalloc.report.markup import Html, joined, paragraph, section
from fmalloc.report.numbers import NOTHING, number, percent, signed
from fmalloc.report.palette import Palette
from fmalloc.report.scores import heat_maps, matrix
from fmalloc.report.tables import cell, table
from fmalloc.store.records import StoreRecord, TaskRecord


def quality_section(store: StoreRecord, tasks: Sequence[TaskRecord], palette: Palette) -> Html:
    """Heat maps of the scores, then the measures."""
    return section(
        "scores",
        "Scores",
        paragraph("Every domain's test set, translated anew with the models as they were after each step."),
        heat_maps(matrix(store, tasks), palette, store.general_scores.signatures),
        _measures(store, tasks) if tasks else None,
    )


def _measures(store: StoreRecord, tasks: Sequence[TaskRecord]) -> Html:
    names, scores = [task.name for task in tasks], [task.scores for task in tasks]
    bleu, chrf, nll = (
        Matrix.of(names, scores, store.base_scores, metric).measures() for metric in ("bleu", "chrf", "nll")
    )

    def row(name: str, value: Callable[[Measures], float | None], text: Callable[..., str], how: str) -> list[str]:
        return [name, text(value(bleu)), text(value(chrf)), text(value(nll), 3), cell(how, class_="text")]

    def negated(measures: Measures) -> float | None:
        return None if measures.average is None else -measures.average

    ratio = [percent(bleu.forgetting_ratio, 2), percent(chrf.forgetting_ratio, 2), NOTHING]
    rows = [
        [
            "average",
            number(bleu.average),
            number(chrf.average),
            number(negated(nll), 3),
            _how("mean over j of R[T][j]"),
        ],
        row("forgetting", lambda m: m.forgetting, number, "mean over j < T of R[j][j] − R[T][j]; of the NLL its rise"),
        ["forgetting ratio", *ratio, _how("mean over j < T of (R[j][j] − R[T][j]) / R[j][j]")],
        row("backward transfer", lambda m: m.backward_transfer, signed, "mean over j < T of R[T][j] − R[j][j]"),
        row("forward transfer", lambda m: m.forward_transfer, signed, "mean over j > 1 of R[j−1][j] − base[j]"),
        ["worst moment", NOTHING, NOTHING, number(_worst_rise(tasks), 3), _how(_WORST)],
    ]
    return joined(
        [
            table("What the matrix says", ("measure", "BLEU", "chrF", "NLL", "how"), rows, class_="worded"),
            paragraph(
                "R[i][j] is the score on domain j after learning domain i of T, general apart. Transfer above 0 is "
                "gain. A dash stands where a score is missing or there is nothing to compare.",
                class_="note",
            ),
        ]
    )


_WORST = "largest rise of an earlier domain's dev NLL while a later one was learned"


def _how(text: str) -> Html:
    return cell(text, class_="text")


def _worst_rise(tasks: Sequence[TaskRecord]) -> float | None:
    rises = stability_gap([task.name for task in tasks], {task.name: task.curve for task in tasks})
    return max((rise for rise in rises.values() if rise is not None), default=None)
