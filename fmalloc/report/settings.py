"""Every setting, digest and version that the records of a store hold."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from fmalloc.report.drawing.palette import Palette
from fmalloc.report.drawing.rendering import NOTHING, render
from fmalloc.store.records import StoreRecord, TaskRecord
from fmalloc.store.store import Store
from fmalloc_shared.names import GENERAL
from fmalloc_shared.strict import read_json

_SHOWN_ELSEWHERE = frozenset({"base_scores", "general_scores", "layers", "files", "dead_cells", "curve"})

_OF_A_TASK = {"version", "name", "order", "previous", "reads", "settings", "data", "scores", "dev", "curve", "files"}


def settings_section(store: Store, palette: Palette) -> Markup:
    """Settings of the store and its tasks, their data, digests by file, and the base's configuration."""
    record, tasks = store.description, store.tasks()
    made = {key: value for key, value in flattened(record.model_dump()) if _is_setting(key)}
    return render(
        "settings",
        palette=palette,
        store=setting_rows(made),
        tasks=[task.name for task in tasks],
        learning=_learning(tasks),
        data=[(task.name, part, record) for task in tasks for part, record in sorted(task.data.items())],
        digests=_digests(store),
        base=setting_rows(_base(store)),
        signatures=_signatures(record, tasks),
    )


def setting_rows(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Dotted keys of nested settings, and their values as text."""
    return [(key, _text(value)) for key, value in flattened(content)]


def flattened(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings, keys sorted."""
    for key in sorted(content):
        if isinstance(content[key], Mapping):
            yield from flattened(content[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", content[key]


def _is_setting(key: str) -> bool:
    return not _SHOWN_ELSEWHERE.intersection(key.split("."))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _learning(tasks: Sequence[TaskRecord]) -> list[tuple[str, list[str]]]:
    """By key the value of each task."""
    columns = [dict(setting_rows({**task.model_dump(exclude=_OF_A_TASK), **task.settings})) for task in tasks]
    keys = sorted({key for column in columns for key in column})
    return [(key, [column.get(key, NOTHING) for column in columns]) for key in keys]


def _signatures(store: StoreRecord, tasks: Sequence[TaskRecord]) -> dict[tuple[str, str], list[str]]:
    """By metric and signature, whose scores were measured with it."""
    found: dict[tuple[str, str], list[str]] = {}
    for where, scores in [("store", store.general_scores), *((task.name, task.scores) for task in tasks)]:
        for metric, signature in sorted(scores.signatures.items()):
            found.setdefault((metric, signature), []).append(where)
    return found


def _digests(store: Store) -> dict[str, str]:
    """By file: those of the records, which hold those of all other files, then the others."""
    tasks = store.tasks()
    records = {f"tasks/{task.name}/task.json": store.digest(task.name)[1] or "" for task in tasks}
    files = {f"tasks/{task.name}/{name}": digest for task in tasks for name, digest in sorted(task.files.items())}
    return {"store.json": store.digest(GENERAL)[0], **records, **dict(sorted(store.description.files.items())), **files}


def _base(store: Store) -> Mapping[str, Any]:
    """The base's configuration, as transformers saved it."""
    path = store.base / "config.json"
    content = read_json(path)
    return content if isinstance(content, dict) else {}
