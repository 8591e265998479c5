"""Learning curves: what validation saw of each task while it was learned, and of the domains learned before it."""

from collections.abc import Callable, Sequence

from fmalloc.report.charts import Line, line_chart
from fmalloc.report.markup import Html, element, paragraph, section
from fmalloc.report.palette import MUTED, Palette
from fmalloc.store.records import CurvePoint, RecoveryRecord, TaskRecord
from fmalloc_shared.names import GENERAL

_Mark = tuple[float, str] | None


def curves_section(tasks: Sequence[TaskRecord], recovery: RecoveryRecord | None, palette: Palette) -> Html:
    """The charts of every task, after those of the recovery of the pruned model, if there was one."""
    recovered = _recovery(recovery, palette) if recovery else None
    if not tasks:
        return section("curves", "Learning curves", paragraph("No domain has been learned yet."), recovered)
    intro = paragraph(
        "Dev scores under the hard mask, as the compiled model would have them. The dotted upright line marks the "
        "state that was kept. Shuffled sources are those of other sentences in the batch: a model that does not lose "
        "by them does not translate."
    )
    return section("curves", "Learning curves", intro, recovered, *(_task(task, palette) for task in tasks))


def _recovery(recovery: RecoveryRecord, palette: Palette) -> Html:
    """How the pruned general model came back, before the first task."""
    chart = _chart("NLL, nats a target token", _likelihoods(recovery.curve, palette[GENERAL].colour), None)
    facts = "recovery of the pruned model on general text, before the first domain"
    heading = element("h3", palette.name(GENERAL), " ", element("small", facts))
    return element("div", heading, element("div", chart, class_="charts"), class_="task")


def selected(task: TaskRecord) -> CurvePoint | None:
    """The last validation whose scores are those of the state that was kept."""
    kept = (point for point in task.curve if (point.bleu, point.chrf) == (task.dev.bleu, task.dev.chrf))
    return max(kept, key=lambda point: (-point.nll, point.update), default=None)


def _task(task: TaskRecord, palette: Palette) -> Html:
    best = selected(task)
    mark = (float(best.update), "kept") if best else None
    colour = palette[task.name].colour
    translated = any(point.chrf for point in task.curve)
    bleu = _line(task.curve, "dev BLEU", lambda point: point.bleu, colour)
    chrf = _line(task.curve, "dev chrF", lambda point: point.chrf, colour)
    charts = [
        *(_chart(line.label, [line], mark) for line in (bleu, chrf) if translated),
        _chart("NLL, nats a target token", _likelihoods(task.curve, colour), mark),
        _chart("cells claimed", [_line(task.curve, "claimed", lambda point: point.claimed, colour)], mark),
        _earlier(task, palette, mark),
    ]
    kept = f"kept: update {best.update:,} of {task.curve[-1].update:,}" if best else "no validation was recorded"
    scores = f"dev BLEU {task.dev.bleu:.2f}, chrF {task.dev.chrf:.1f}" if translated else "dev was not translated"
    facts = f"domain {task.order} · {scores} · {kept}"
    heading = element("h3", palette.name(task.name), " ", element("small", facts))
    return element("div", heading, element("div", *charts, class_="charts"), class_="task")


def _chart(caption: str, lines: Sequence[Line], mark: _Mark) -> Html:
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


def _earlier(task: TaskRecord, palette: Palette, mark: _Mark) -> Html | None:
    """Dev NLL of the domains learned before, with the model that would have served them at that moment."""
    domains = palette.sorted(domain for point in task.curve for domain in point.earlier)
    if not domains:
        return None

    def line(domain: str) -> Line:
        look = palette[domain]
        return _line(task.curve, domain, lambda point: point.earlier.get(domain), look.colour, look.dash, 1.5)

    return _chart("NLL of earlier domains", [line(domain) for domain in domains], mark)
