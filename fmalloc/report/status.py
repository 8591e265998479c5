"""The state of a store: tasks, cells per layer, free capacity, score matrix and its measures; as tables or JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from fmalloc.evaluation.matrix import Capacity, Matrix, Metric, stability_gap
from fmalloc.store.cells import GENERAL_OWNER
from fmalloc.store.records import Scores, TaskRecord
from fmalloc.store.store import Store
from fmalloc_shared.names import GENERAL

_METRICS: dict[Metric, str] = {"bleu": "BLEU", "chrf": "chrF", "nll": "−NLL"}
_MISSING = "–"


def cells_table(store: Store) -> Table:
    """Cells by layer and owner, and the share of the freed cells that is claimed."""
    tasks, table = store.tasks(), store.cells()
    shown = Table("layer", "width", GENERAL, *(task.name for task in tasks), "free", title="Memory cells")
    owners = [GENERAL_OWNER, *(task.order for task in tasks)]
    columns = [table.count(owner) for owner in owners] + [table.free_count()]
    for layer in store.description.layers:
        shown.add_row(layer.name, str(layer.width), *(str(column[layer.name]) for column in columns))
    totals = [sum(column.values()) for column in columns]
    width = sum(layer.width for layer in store.description.layers)
    shown.add_section()
    shown.add_row("all", str(width), *map(str, totals))
    writable = width - totals[0]
    shares = (_number(total / writable if writable else None, percent=True) for total in totals[1:])
    shown.add_row("of the freed", str(writable), "", *shares)
    used = _number(Capacity.of(table).used, percent=True)
    shown.caption = f"capacity used: {used}, {totals[-1]} cells are free"
    return shown


def matrix_table(store: Store) -> Table:
    """BLEU on every domain's test set: the base, the pruned general model, and after each task."""
    shown = Table("model", *_domains(store), title="BLEU by test set (chrF)", caption=_signature(store))
    for label, scores in _rows(store).items():
        shown.add_row(label, *(_cell(scores, domain) for domain in _domains(store)))
    return shown


def _domains(store: Store) -> list[str]:
    return [GENERAL, *(task.name for task in store.tasks())]


def _rows(store: Store) -> dict[str, Scores]:
    rows = {"base": store.description.base_scores, "general, pruned": store.description.general_scores}
    return rows | {f"after {task.name}": task.scores for task in store.tasks()}


def _cell(scores: Scores, domain: str) -> str:
    score = scores.domains.get(domain)
    return f"{score.bleu:.2f} ({score.chrf:.1f})" if score else _MISSING


def _signature(store: Store) -> str:
    return store.description.general_scores.signatures.get("bleu", "")


def advice(store: Store) -> str | None:
    """How to get the scores that the matrix lacks, because a row is written once and some domains were named later."""
    missing = [name for name in _domains(store) if any(name not in row.domains for row in _rows(store).values())]
    if not missing:
        return None
    tests = " ".join(f"--test {domain}=PATH" for domain in missing)
    return (
        f"{_MISSING} was not scored: the domain was not in the recipe then. Before it was learned, the general model "
        f"served it:\n  fmalloc eval {store.path} --task base --task {GENERAL} {tests}"
    )


def measures_table(store: Store) -> Table:
    """The measures of the score matrix, by metric; higher is better, except for forgetting."""
    labels = {
        "average": "average after the last task",
        "forgetting_ratio": "forgetting ratio",
        "forgetting": "forgetting, points",
        "backward_transfer": "backward transfer, points",
        "forward_transfer": "forward transfer, points",
    }
    found = {metric: asdict(_matrix(store, metric).measures()) for metric in _METRICS}
    shown = Table("measure", *_METRICS.values(), title="Measures")
    for name, label in labels.items():
        ratio = name == "forgetting_ratio"
        shown.add_row(label, *(_number(found[metric][name], percent=ratio) for metric in _METRICS))
    return shown


def _number(value: float | None, *, percent: bool = False) -> str:
    if value is None:
        return _MISSING
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"


def _matrix(store: Store, metric: Metric) -> Matrix:
    tasks = store.tasks()
    names, rows = [task.name for task in tasks], [task.scores for task in tasks]
    return Matrix.of(names, rows, store.description.base_scores, metric)


def tasks_table(store: Store) -> Table:
    """One row per task; the last column is the worst rise of its dev NLL while later tasks were learned."""
    tasks = store.tasks()
    gaps = _gaps(tasks)
    titles = ("task", "order", "reads", "train pairs", "updates", "dev BLEU", "NLL rise later")
    shown = Table(*titles, title="Tasks")
    for task in tasks:
        shown.add_row(
            task.name,
            str(task.order),
            ", ".join([GENERAL, *task.reads]),
            str(task.data["train"].pairs) if "train" in task.data else _MISSING,
            str(task.selected.update) if task.selected else _MISSING,
            f"{task.dev.bleu:.2f}",
            _number(gaps[task.name]),
        )
    return shown


def _gaps(tasks: tuple[TaskRecord, ...]) -> dict[str, float | None]:
    return stability_gap([task.name for task in tasks], {task.name: task.curve for task in tasks})


def status_of(store: Store) -> dict[str, Any]:
    """The content of all tables, JSON-able: counts, scores from 0 to 100, shares from 0 to 1, NLL in nats."""
    tasks, table, description = store.tasks(), store.cells(), store.description
    owners = {GENERAL: table.count(GENERAL_OWNER)} | {task.name: table.count(task.order) for task in tasks}
    free = table.free_count()
    return {
        "languages": asdict(description.languages),
        "tasks": [
            {
                "name": task.name,
                "order": task.order,
                "reads": [GENERAL, *task.reads],
                "pairs": {part: record.pairs for part, record in task.data.items()},
                "updates": task.selected.update if task.selected else None,
                "dev": task.dev.model_dump(),
            }
            for task in tasks
        ],
        "cells": {
            layer.name: {
                "width": layer.width,
                "owners": {owner: counts[layer.name] for owner, counts in owners.items()},
                "free": free[layer.name],
            }
            for layer in description.layers
        },
        "capacity": asdict(Capacity.of(table)),
        "base_scores": description.base_scores.model_dump(),
        "general_scores": description.general_scores.model_dump(),
        "rows": [{"after": task.name, "scores": task.scores.model_dump()} for task in tasks],
        "measures": {metric: asdict(_matrix(store, metric).measures()) for metric in _METRICS},
        "stability_gap": _gaps(tasks),
    }


def print_status(store: Store, console: Console | None = None) -> None:
    """Print all tables to standard output."""
    console = console or Console()
    for table in (tasks_table(store), cells_table(store), matrix_table(store), measures_table(store)):
        console.print(table)
    if text := advice(store):
        console.print(text, soft_wrap=True, highlight=False, markup=False)
