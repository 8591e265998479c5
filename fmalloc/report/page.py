"""The page: its parts in their order, in one file that loads nothing."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from fmalloc import __version__
from fmalloc.evaluation.matrix import Capacity, Matrix
from fmalloc.methods.comparison.record import Comparison
from fmalloc.report.capacity import capacity_section
from fmalloc.report.curves import curves_section
from fmalloc.report.forecast import Forecast
from fmalloc.report.importance import importance_section
from fmalloc.report.markup import Html, element, joined
from fmalloc.report.memory import memory_section
from fmalloc.report.methods import comparison_section
from fmalloc.report.numbers import NOTHING, number, percent
from fmalloc.report.palette import Palette
from fmalloc.report.quality import quality_section
from fmalloc.report.settings import settings_section
from fmalloc.store.cells import GENERAL_OWNER, CellTable
from fmalloc.store.records import StoreRecord, TaskRecord, read_record
from fmalloc.store.store import Store
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.names import GENERAL

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_PARTS = {
    "memory": "Memory",
    "capacity": "Capacity",
    "scores": "Scores",
    "curves": "Learning curves",
    "comparison": "Comparison",
    "importance": "Importance",
    "settings": "Settings",
}


def write_report(store: Path, output: Path, comparison: Path | None = None) -> None:
    """Write the page on a store, and on a comparison.json if one is given; print where it is.

    Raises:
        FmallocError: something cannot be read, or the output lies inside the store or in no folder.
    """
    opened = Store.open(store)
    compared = read_record(comparison, Comparison) if comparison else None
    if output.resolve().is_relative_to(store.resolve()):
        raise FmallocError(f"{output}: inside the store {store}, which holds only its own files; choose another place")
    if not output.parent.is_dir():
        raise FmallocError(f"{output}: no folder {output.parent}")
    write_atomically(output, report_page(opened, compared).encode())
    click.echo(str(output))


def report_page(store: Store, comparison: Comparison | None = None) -> str:
    """The report on a store, and on a comparison if there is one, as HTML. The same records give the same text."""
    record, tasks, cells = store.description, store.tasks(), store.cells()
    orders = {task.name: task.order for task in tasks}
    masks = {name: store.mask(name) for name in (GENERAL, *orders)}
    palette = Palette(GENERAL, [*orders, *_other_domains(record, tasks, comparison)])
    forecast, importance = Forecast.of(cells, orders), store.importance()
    sections = [
        memory_section(cells, orders, masks, record.importance.dead_cells, palette),
        capacity_section(cells, forecast, palette),
        quality_section(record, tasks, palette),
        curves_section(tasks, record.recovery, palette),
        *([comparison_section(comparison, palette)] if comparison else []),
        importance_section(
            {layer: importance[layer] for layer in store.layers}, masks[GENERAL], record.importance, palette
        ),
        settings_section(record, tasks, _digests(store), _base(store), palette),
    ]
    pair = f"{record.languages.source} → {record.languages.target}"
    return _document(f"Memory report, {pair}", palette, [_header(record, tasks, cells, forecast), *sections])


def _header(record: StoreRecord, tasks: Sequence[TaskRecord], cells: CellTable, forecast: Forecast) -> Html:
    languages, width = record.languages, sum(layer.width for layer in record.layers)
    matrix = Matrix.of([task.name for task in tasks], [task.scores for task in tasks], record.base_scores)
    kept = sum(cells.count(GENERAL_OWNER).values())
    figures = [
        (str(len(tasks)), "domain" if len(tasks) == 1 else "domains", "learned, besides general"),
        (number(matrix.average()), "BLEU", "average over the domains"),
        (number(matrix.forgetting()), "BLEU forgotten", "mean over earlier domains"),
        (percent(Capacity.of(cells).used), "claimed", f"of {width - kept:,} freed cells"),
        _fitting(forecast),
    ]
    tiles = (
        element("div", element("dt", name, element("small", what)), element("dd", value))
        for value, name, what in figures
    )
    described = f"{record.family}, {len(record.layers)} feed-forward layers, {width:,} memory cells"
    return element(
        "header",
        element("p", "Memory report", class_="kicker"),
        element("h1", f"{languages.source} → {languages.target}"),
        element("p", described, class_="lead"),
        element("dl", *tiles, class_="tiles"),
    )


def _other_domains(record: StoreRecord, tasks: Sequence[TaskRecord], comparison: Comparison | None) -> list[str]:
    """Domains with a score that the store did not learn."""
    scored = [record.base_scores, record.general_scores, *(task.scores for task in tasks)]
    found = {domain for scores in scored for domain in scores.domains} | {
        domain for task in tasks for point in task.curve for domain in point.earlier
    }
    return sorted((found | set(comparison.domains if comparison else ())) - {GENERAL, *(task.name for task in tasks)})


def _fitting(forecast: Forecast) -> tuple[str, str, str]:
    if forecast.range is None:
        return NOTHING, "more domains fit", "nothing was claimed yet"
    least, median, most = forecast.range
    value = str(least) if least == most else f"{least} to {most}"
    return value, "more domains fit", f"median {median}, by the tightest layer"


def _digests(store: Store) -> dict[str, str]:
    """Digests of the records, which hold those of all other files."""
    digests = {"store.json": store.digest(GENERAL)[0]}
    return digests | {f"tasks/{task.name}/task.json": store.digest(task.name)[1] or "" for task in store.tasks()}


def _base(store: Store) -> Mapping[str, Any]:
    """The base's configuration, as transformers saved it."""
    path = store.base / "config.json"
    content = json.loads(path.read_bytes()) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _document(title: str, palette: Palette, parts: list[Html]) -> str:
    style = (files("fmalloc.report") / "style.css").read_text(encoding="utf-8")
    present = [key for key in _PARTS if any(part.startswith(f'<section id="{key}"') for part in parts)]
    links = (element("a", _PARTS[key], href=f"#{key}") for key in present)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Html(style)),
    )
    header, *sections = parts
    navigation = element("nav", *links, aria_label="Parts of the report")
    footer = element("footer", f"Written by fmalloc {__version__}. The same store gives the same page.")
    body = element("body", palette.patterns(), header, navigation, element("main", joined(sections)), footer)
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"
