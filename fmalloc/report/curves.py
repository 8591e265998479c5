"""Learning curves: the validations of each task while it was learned, and of the domains learned before it."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from fmalloc.report.drawing.charts import Line, line_chart
from fmalloc.report.drawing.palette import MUTED, Palette
from fmalloc.report.drawing.rendering import render
from fmalloc.store.records import CurvePoint, RecoveryRecord, TaskRecord
from fmalloc_shared.names import GENERAL

_Mark = tuple[float, str] | None
_NLL = "NLL, nats per target token"


def curves_section(tasks: Sequence[TaskRecord], recovery: RecoveryRecord | None, palette: Palette) -> Markup:
    """The charts of every task, after those of the recovery of the pruned model, if there was one."""
    recovered = _chart(_NLL, _likelihoods(recovery.curve, palette[GENERAL].colour), None) if recovery else None
    shown = [{"name": task.name, "facts": _facts(task), "charts": _charts(task, palette)} for task in tasks]
    return render("curves", palette=palette, general=GENERAL, recovery=recovered, tasks=shown)


def _translated(task: TaskRecord) -> bool:
    return any(point.chrf for point in task.curve)


def _facts(task: TaskRecord) -> str:
    best = task.selected
    kept = f"kept: update {best.update:,} of {task.curve[-1].update:,}" if best else "no validation was recorded"
    scores = (
        f"dev BLEU {task.dev.bleu:.2f}, chrF {task.dev.chrf:.1f}" if _translated(task) else "dev was not translated"
    )
    return f"domain {task.order} · {scores} · {kept}"


def _charts(task: TaskRecord, palette: Palette) -> list[Markup]:
    best, colour = task.selected, palette[task.name].colour
    mark = (float(best.update), "kept") if best else None
    charts = []
    if _translated(task):
        charts += [
            _chart("dev BLEU", [_line(task.curve, "dev BLEU", lambda point: point.bleu, colour)], mark),
            _chart("dev chrF", [_line(task.curve, "dev chrF", lambda point: point.chrf, colour)], mark),
        ]
    charts += [
        _chart(_NLL, _likelihoods(task.curve, colour), mark),
        _chart("cells claimed", [_line(task.curve, "claimed", lambda point: point.claimed, colour)], mark),
    ]
    # Of the domains learned before, with the model that would have served them at that moment.
    if earlier := palette.sorted(domain for point in task.curve for domain in point.earlier):
        charts.append(_chart("NLL of earlier domains", [_earlier(task, domain, palette) for domain in earlier], mark))
    return charts


def _chart(caption: str, lines: Sequence[Line], mark: _Mark) -> Markup:
    return line_chart(caption, lines, x_label="updates", mark=mark)


def _line(
    curve: Sequence[CurvePoint],
    label: str,
    value: Callable[[CurvePoint], float | None],
    colour: str,
    dash: str = "",
    width: float = 2.0,
) -> Line:
    pairs = ((float(point.update), value(point)) for point in curve)
    return Line(label, [(update, found) for update, found in pairs if found is not None], colour, dash, width)


def _likelihoods(curve: Sequence[CurvePoint], colour: str) -> list[Line]:
    return [
        _line(curve, "dev", lambda point: point.nll, colour),
        _line(curve, "sources shuffled", lambda point: point.nll_shuffled, MUTED, "5 2", 1.5),
        _line(curve, "training loss", lambda point: point.loss, MUTED, "1.5 2", 1.5),
    ]


def _earlier(task: TaskRecord, domain: str, palette: Palette) -> Line:
    look = palette[domain]
    return _line(task.curve, domain, lambda point: point.earlier.get(domain), look.colour, look.dash, 1.5)
