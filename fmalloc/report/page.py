"""The page: its parts in their order, in one file that loads nothing."""

from collections.abc import Sequence
from pathlib import Path

from fmalloc.evaluation.matrix import Capacity, Matrix
from fmalloc.methods.comparison.record import Comparison
from fmalloc.report.capacity import Forecast, capacity_section
from fmalloc.report.comparison import comparison_section
from fmalloc.report.curves import curves_section
from fmalloc.report.drawing.palette import Palette
from fmalloc.report.drawing.rendering import render
from fmalloc.report.importance import importance_section
from fmalloc.report.memory import memory_section
from fmalloc.report.scores import scores_section
from fmalloc.report.settings import settings_section
from fmalloc.report.united import served_of, side_by_side
from fmalloc.store.cells import GENERAL_OWNER
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.records import StoreRecord, TaskRecord
from fmalloc.store.store import Store
from fmalloc_shared import __version__
from fmalloc_shared.commands.command import echo
from fmalloc_shared.commands.outputs import check_file
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.names import GENERAL


def write_report(store: Path, output: Path, comparison: Path | None = None) -> None:
    """Write the page on a store, and on a comparison.json if one is given; print where it is.

    Raises:
        FmallocError: something cannot be read, or the output lies inside the store or in no folder.
    """
    opened = Store.open(store)
    compared = Comparison.read(comparison) if comparison else None
    if output.resolve().is_relative_to(store.resolve()):
        raise FmallocError(f"{output}: inside the store {store}, which holds only its own files; choose another place")
    check_file(output)
    write_atomically(output, report_page(opened, compared).encode())
    echo(str(output))


def report_page(store: Store, comparison: Comparison | None = None) -> str:
    """The report on a store, and on a comparison if there is one, as HTML. The same records give the same text."""
    record, chain, cells = store.description, store.chain(), store.cells()
    tasks = side_by_side(chain)
    orders, served = {task.name: task.order for task in tasks}, served_of(chain)
    masks = {name: store.mask(name) for name in (GENERAL, *orders)}
    palette = Palette(GENERAL, [*orders, *_other_domains(record, tasks, comparison)])
    forecast, importance = Forecast.of(cells, orders), store.importance()
    importance = {layer: importance[layer] for layer in store.layers}
    sections = {
        "memory": memory_section(cells, orders, masks, record.importance.dead_cells, palette),
        "capacity": capacity_section(cells, forecast, palette),
        "scores": scores_section(record, tasks, served, palette),
        "curves": curves_section(tasks, record.recovery, palette),
        "comparison": comparison_section(comparison, palette) if comparison else None,
        "importance": importance_section(importance, masks[GENERAL], record.importance, palette),
        "settings": settings_section(store, palette),
    }
    page = render(
        "page",
        palette=palette,
        record=record,
        tasks=tasks,
        width=sum(map(len, cells.owners.values())),
        freed=sum(map(len, cells.owners.values())) - sum(cells.count(GENERAL_OWNER).values()),
        matrix=Matrix.of(
            [domain_of(task.name) for task in served], [task.scores for task in served], record.base_scores
        ),
        capacity=Capacity.of(cells),
        forecast=forecast,
        sections=sections,
        version=__version__,
    )
    return f"{page}\n"


def _other_domains(record: StoreRecord, tasks: Sequence[TaskRecord], comparison: Comparison | None) -> list[str]:
    """Domains with a score that the store did not learn."""
    scored = [record.base_scores, record.general_scores, *(task.scores for task in tasks)]
    found = {domain for scores in scored for domain in scores.domains} | {
        domain for task in tasks for point in task.curve for domain in point.earlier
    }
    return sorted((found | set(comparison.domains if comparison else ())) - {GENERAL, *(task.name for task in tasks)})
