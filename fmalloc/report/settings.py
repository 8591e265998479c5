"""Every setting, digest and version that the records of a store hold."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fmalloc.report.markup import Html, Node, element, joined, paragraph, section
from fmalloc.report.numbers import NOTHING
from fmalloc.report.palette import Palette
from fmalloc.report.tables import cell, table
from fmalloc.store.records import StoreRecord, TaskRecord

_SHOWN_ELSEWHERE = frozenset({"base_scores", "general_scores", "layers", "files", "dead_cells", "curve"})

_OF_A_TASK = {"version", "name", "order", "reads", "settings", "data", "scores", "dev", "curve", "files"}


def settings_section(
    store: StoreRecord,
    tasks: Sequence[TaskRecord],
    digests: Mapping[str, str],
    base: Mapping[str, Any],
    palette: Palette,
) -> Html:
    """Settings of the store and its tasks, their data, digests by file, and the base's configuration."""
    made = {key: value for key, value in flattened(store.model_dump()) if _is_setting(key)}
    return section(
        "settings",
        "Settings, data and versions",
        settings_table("The store", made),
        _learning(tasks, palette) if tasks else None,
        _data(tasks, palette) if tasks else None,
        _digests(store, tasks, digests),
        settings_table("The base model", base),
        _signatures(store, tasks),
    )


def settings_table(caption: str, content: Mapping[str, Any]) -> Html:
    """A row for each key of nested settings."""
    return table(caption, ("key", "value"), [(k, _value(v)) for k, v in flattened(content)], class_="keys")


def flattened(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings, keys sorted."""
    for key in sorted(content):
        if isinstance(content[key], Mapping):
            yield from flattened(content[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", content[key]


def _is_setting(key: str) -> bool:
    return not _SHOWN_ELSEWHERE.intersection(key.split("."))


def _value(value: Any) -> Html:
    values = value if isinstance(value, list) else [value]
    return cell(", ".join(map(_text, values)) or "none", class_="text")


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _learning(tasks: Sequence[TaskRecord], palette: Palette) -> Html:
    """A row a key; keys in which tasks differ stand out."""
    columns = [dict(flattened({**task.model_dump(exclude=_OF_A_TASK), **task.settings})) for task in tasks]
    header = ["key", *(palette.name(task.name) for task in tasks)]
    rows: list[list[Node]] = []
    for key in sorted({key for column in columns for key in column}):
        values = [_value(column[key]) if key in column else cell(NOTHING) for column in columns]
        rows.append([key if len(set(values)) == 1 else element("strong", key), *values])
    return table("Learning, by domain", header, rows, class_="keys")


def _data(tasks: Sequence[TaskRecord], palette: Palette) -> Html:
    rows = [
        (palette.name(task.name), part, f"{record.pairs:,}", _digest(record.sha256))
        for task in tasks
        for part, record in sorted(task.data.items())
    ]
    return table("Text, as it was used", ("domain", "part", "pairs", "SHA-256"), rows, class_="keys data")


def _digests(store: StoreRecord, tasks: Sequence[TaskRecord], digests: Mapping[str, str]) -> Html:
    rows = [(name, _digest(digest)) for name, digest in digests.items()]
    rows += [(name, _digest(digest)) for name, digest in sorted(store.files.items())]
    rows += [(f"tasks/{t.name}/{name}", _digest(digest)) for t in tasks for name, digest in sorted(t.files.items())]
    return table("Files of the store", ("file", "SHA-256"), rows, class_="keys data")


def _digest(digest: str) -> Html:
    return cell(element("code", digest), class_="text")


def _signatures(store: StoreRecord, tasks: Sequence[TaskRecord]) -> Html:
    found: dict[tuple[str, str], list[str]] = {}
    for where, scores in [("store", store.general_scores), *((task.name, task.scores) for task in tasks)]:
        for metric, signature in sorted(scores.signatures.items()):
            found.setdefault((metric, signature), []).append(where)
    rows = [
        (m, cell(element("code", s), class_="text"), cell(", ".join(w), class_="text")) for (m, s), w in found.items()
    ]
    return joined(
        [
            table("Signatures of the scores", ("metric", "signature", "used by"), rows, class_="keys"),
            None
            if len({s for _, s in found}) <= len({m for m, _ in found})
            else paragraph("Scores of different signatures are not comparable."),
        ]
    )
