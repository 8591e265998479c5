"""What a store holds, as tables: tasks, cells a layer, free capacity, the matrix."""

from rich.console import Console
from rich.table import Table

from fmalloc.cells import GENERAL_OWNER
from fmalloc.records import Scores
from fmalloc.store import Store
from fmalloc_shared.names import GENERAL


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
    shares = (f"{100 * total / writable:.1f} %" for total in totals[1:])
    shown.add_row("of the freed", str(writable), "", *shares)
    return shown


def matrix_table(store: Store) -> Table:
    """BLEU on every domain's test set: the base, the pruned general model, and after each task."""
    tasks = store.tasks()
    domains = [GENERAL, *(task.name for task in tasks)]
    shown = Table("model", *domains, title="BLEU by test set (chrF)", caption=_signature(store))
    rows: list[tuple[str, Scores]] = [("base", store.description.base_scores)]
    rows.append(("general, pruned", store.description.general_scores))
    rows += [(f"after {task.name}", task.scores) for task in tasks]
    for label, scores in rows:
        shown.add_row(label, *(_cell(scores, domain) for domain in domains))
    return shown


def _cell(scores: Scores, domain: str) -> str:
    score = scores.domains.get(domain)
    return f"{score.bleu:.2f} ({score.chrf:.1f})" if score else "–"


def _signature(store: Store) -> str:
    return store.description.general_scores.signatures.get("bleu", "")


def tasks_table(store: Store) -> Table:
    """One row a task."""
    shown = Table("task", "order", "reads", "train pairs", "updates", "dev BLEU", title="Tasks")
    for task in store.tasks():
        best = max(task.curve, key=lambda point: (round(point.bleu, 2), -point.nll))
        reads = ", ".join([GENERAL, *task.reads])
        pairs = str(task.data["train"].pairs)
        shown.add_row(task.name, str(task.order), reads, pairs, str(best.update), f"{task.dev.bleu:.2f}")
    return shown


def print_status(store: Store, console: Console | None = None) -> None:
    """Print all tables to standard output."""
    console = console or Console()
    for table in (tasks_table(store), cells_table(store), matrix_table(store)):
        console.print(table)
