"""The state of a store: tasks, cells per layer, free capacity, score matrix and its measures; as tables or JSON."""

from dataclasses import asdict
from typing import Any

from rich.table import Table

from fmalloc.evaluation.matrix import Capacity, Matrix, Metric, stability_gap
from fmalloc.report.ledger import Ledger, ledger_table
from fmalloc.report.united import served_of, side_by_side
from fmalloc.store.cells import GENERAL_OWNER
from fmalloc.store.chain.links import HEAD_FILE
from fmalloc.store.chain.versions import Versions, domain_of, number_of
from fmalloc.store.distilled import distilled_models
from fmalloc.store.records import Scores, TaskRecord
from fmalloc.store.store import Store
from fmalloc_shared.commands.terminal import Terminal
from fmalloc_shared.names import GENERAL

_METRICS: dict[Metric, str] = {"bleu": "BLEU", "chrf": "chrF", "nll": "−NLL"}
_MISSING = "–"
_PROVEN = "="


def findings(store: Store) -> list[str]:
    """What is said of a store that was read as a whole; FmallocError names all that is wrong with it."""
    count, chain = store.verify(), store.chain()
    names = ", ".join(task.name for task in chain.tasks) or "none"
    found = [f"{count} files are as they were written, and masks, cells and texts fit together; tasks: {names}"]
    if chain.stated is None:
        found.append("no chain: written by format 1, so that nothing in the store tells whether a record was changed")
    elif not chain.is_stated:
        found.append(f"{HEAD_FILE} lacks the last record: its commit was stopped, and learning completes it")
    for domain, versions in chain.versions.there.items():
        if len(versions) > 1 or domain in chain.versions.held:
            named = ", ".join(map(chain.versions.label, versions))
            found.append(f"{domain}: versions {named}; current is {chain.versions.label(chain.current[domain])}")
    if chain.certificates:
        freed = [task.name for certificate in chain.certificates for task in certificate.freed]
        found.append(f"freed, and the certificates are true: {', '.join(freed)}")
    if chain.leftovers:
        names = ", ".join(chain.leftovers)
        found.append(f"{names}: freed, but the files are still there: it was stopped; run `fmalloc free` again")
    if chain.reservation:
        reserved = sum(store.cells().reserved_count().values())
        found.append(f"{chain.reservation} of a store: {reserved} free cells are reserved for the other parts")
    for number, merge in enumerate(chain.merges, start=1):
        heads = ", ".join(part.heads(merge.before)[-1] for part in merge.stores)
        found.append(f"merge {number}: of the stores with heads {heads}")
    for student in distilled_models(store.path):
        record = student.record
        depth, updates = len(record.decoder_layers), record.updates
        line = f"distilled/{student.path.name}: {record.claim.domain}, decoder layers {depth}, updates {updates}"
        is_freed = record.claim.teacher.task in chain.gone
        found.append(f"{line}; freed, but still there: run `fmalloc free` again" if is_freed else line)
    return [*found, f"head {chain.head}"]


def cells_table(store: Store) -> Table:
    """Cells by layer and owner, and the share of the freed cells that is claimed."""
    tasks, table, label = store.tasks(), store.cells(), store.chain().versions.label
    reserved = store.chain().reservation
    titles = [*(label(task.name) for task in tasks), "free", *(["reserved"] if reserved else [])]
    shown = Table("layer", "width", GENERAL, *titles, title="Memory cells")
    owners = [GENERAL_OWNER, *(task.order for task in tasks)]
    columns = [table.count(owner) for owner in owners] + [table.free_count()]
    columns += [table.reserved_count()] if reserved else []
    widths = store.widths()
    for layer, width in widths.items():
        shown.add_row(layer, str(width), *(str(column[layer]) for column in columns))
    totals = [sum(column.values()) for column in columns]
    width = sum(widths.values())
    shown.add_section()
    shown.add_row("all", str(width), *map(str, totals))
    writable = width - totals[0]
    shares = (_number(total / writable if writable else None, percent=True) for total in totals[1:])
    shown.add_row("of the freed", str(writable), "", *shares)
    used, free = _number(Capacity.of(table).used, percent=True), sum(table.free_count().values())
    shown.caption = f"capacity used: {used}, {free} cells are free"
    if reserved:
        shown.caption += f"\n{reserved}: {totals[-1]} free cells are reserved for the other parts"
    return shown


def matrix_table(store: Store) -> Table:
    """BLEU on every domain's test set: the base, the pruned general model, and after each task."""
    shown = Table("model", *_domains(store), title="BLEU by test set (chrF)", caption=_caption(store))
    for label, scores in _rows(store).items():
        shown.add_row(label, *(_cell(scores, domain) for domain in _domains(store)))
    return shown


def _domains(store: Store) -> list[str]:
    return [GENERAL, *dict.fromkeys(domain_of(task.name) for task in store.tasks())]


def _rows(store: Store) -> dict[str, Scores]:
    rows = {"base": store.description.base_scores, "general, pruned": store.description.general_scores}
    label = store.chain().versions.label
    return rows | {f"after {label(task.name)}": task.scores for task in side_by_side(store.chain())}


def _cell(scores: Scores, domain: str) -> str:
    score = scores.domains.get(domain)
    mark = _PROVEN if domain in scores.proven else ""
    return f"{score.bleu:.2f} ({score.chrf:.1f}){mark}" if score else _MISSING


def _caption(store: Store) -> str:
    signature = store.description.general_scores.signatures.get("bleu", "")
    if not any(scores.proven for scores in _rows(store).values()):
        return signature
    return (
        f"{_PROVEN} proven: the score of an earlier row, whose model, text and search have the same hashes\n{signature}"
    )


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
    tasks = served_of(store.chain())
    names, rows = [domain_of(task.name) for task in tasks], [task.scores for task in tasks]
    return Matrix.of(names, rows, store.description.base_scores, metric)


def tasks_table(store: Store) -> Table:
    """One row per task; the last column is the worst rise of its dev NLL while later tasks were learned."""
    tasks = store.tasks()
    gaps, versions = _gaps(tasks), store.chain().versions
    titles = ("task", "order", "reads", "train pairs", "updates", "dev BLEU", "NLL rise later")
    shown = Table(*titles, title="Tasks")
    for task in tasks:
        shown.add_row(
            _named(versions, task.name),
            str(task.order),
            ", ".join([GENERAL, *map(versions.label, task.reads)]),
            str(task.data["train"].pairs) if "train" in task.data else _MISSING,
            str(task.selected.update) if task.selected else _MISSING,
            f"{task.dev.bleu:.2f}",
            _number(gaps[task.name]),
        )
    return shown


def _named(versions: Versions, task: str) -> str:
    """A task as it is shown; of several versions, one is marked as current."""
    domain = domain_of(task)
    is_marked = len(versions.there[domain]) > 1 and versions.current[domain] == task
    return f"{versions.label(task)} (current)" if is_marked else versions.label(task)


def _gaps(tasks: tuple[TaskRecord, ...]) -> dict[str, float | None]:
    return stability_gap([task.name for task in tasks], {task.name: task.curve for task in tasks})


def status_of(store: Store) -> dict[str, Any]:
    """The content of all tables, JSON-able: counts, scores from 0 to 100, shares from 0 to 1, NLL in nats."""
    chain, table, description = store.chain(), store.cells(), store.description
    tasks, reserved = side_by_side(chain), table.reserved_count()
    owners = {GENERAL: table.count(GENERAL_OWNER)} | {task.name: table.count(task.order) for task in tasks}
    free, versions = table.free_count(), chain.versions
    return {
        "head": chain.head,
        "part": {"parts": chain.reservation.parts, "of": chain.reservation.of} if chain.reservation else None,
        "languages": asdict(description.languages),
        "tasks": [
            {
                "name": task.name,
                "domain": domain_of(task.name),
                "version": number_of(task.name),
                "current": versions.current[domain_of(task.name)] == task.name,
                "order": task.order,
                "reads": [GENERAL, *task.reads],
                "pairs": {part: record.pairs for part, record in task.data.items()},
                "updates": task.selected.update if task.selected else None,
                "dev": task.dev.model_dump(),
            }
            for task in tasks
        ],
        "cells": {
            layer: {
                "width": width,
                "owners": {owner: counts[layer] for owner, counts in owners.items()},
                "free": free[layer],
                "reserved": reserved[layer],
            }
            for layer, width in store.widths().items()
        },
        "ledger": Ledger.of(store).record(),
        "capacity": asdict(Capacity.of(table)),
        "base_scores": description.base_scores.model_dump(),
        "general_scores": description.general_scores.model_dump(),
        "rows": [{"after": task.name, "scores": task.scores.model_dump()} for task in tasks],
        "measures": {metric: asdict(_matrix(store, metric).measures()) for metric in _METRICS},
        "stability_gap": _gaps(tasks),
    }


def print_status(store: Store, console: Terminal | None = None) -> None:
    """Print all tables to standard output."""
    console = console or Terminal(markup=False)
    cells, ledger = store.cells(), Ledger.of(store)
    owners = {GENERAL: GENERAL_OWNER} | {task.name: task.order for task in store.tasks()}
    owned = {name: sum(cells.count(order).values()) for name, order in owners.items()}
    label = store.chain().versions.label
    tables = (tasks_table(store), cells_table(store), ledger_table(ledger, owned, label))
    for table in (*tables, matrix_table(store), measures_table(store)):
        console.print(table)
    console.print(f"head {store.chain().head}", soft_wrap=True, highlight=False)
    if text := advice(store):
        console.print(text, soft_wrap=True, highlight=False, markup=False)
