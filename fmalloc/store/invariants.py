"""What has to hold between the records of a store; each function yields what does not, in words."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from fmalloc.store.chain.certificate import Certificate
from fmalloc.store.chain.versions import CURRENT, CurrentRecord, domain_of
from fmalloc.store.records import Link, StoreRecord, TaskRecord
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL

PRIVATE_FILE = "private.safetensors"
GENERAL_FILES = ("general.safetensors", "routing.safetensors", "samples.jsonl")
_TASK_FILES = ("memory.safetensors", "routing.safetensors", "samples.jsonl")
_PARTS = ("train", "dev", "test")


# What may be wrong with a store.
Kind = Literal[
    "record", "chain", "missing", "changed", "foreign", "special",
    "base", "grown", "cells", "text", "distilled", "scores", "certificate",
]  # fmt: skip
Problem = tuple[Kind, str]


class BrokenStoreError(FmallocError):
    """A store that is not whole: all that was found, of these `kinds`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(text for _, text in problems))
        self.kinds = tuple(dict.fromkeys(kind for kind, _ in problems))


def problems_of_store(store: StoreRecord) -> Iterator[str]:
    """Of store.json alone."""
    names = [layer.name for layer in store.layers]
    sizes = {stack: sum(name.startswith(stack) for name in names) for stack in ("encoder", "decoder")}
    expected = [f"{stack}.{index}" for stack, size in sizes.items() for index in range(size)]
    if names != expected:
        yield f"layers are {', '.join(names)}, expected {', '.join(expected)}"
    widths = {layer.name: layer.width for layer in store.layers}
    for name, count in store.importance.dead_cells.items():
        if count > widths.get(name, -1):
            yield f"importance.dead_cells.{name} is {count}, expected at most {widths.get(name)}"
    others = {name for name in store.files if not name.startswith("base/")}
    if others != {*GENERAL_FILES}:
        yield f"files are {sorted(others)} beside base/, expected {', '.join(GENERAL_FILES)}"
    for name in sorted({*store.files} - others):
        if not all(part not in ("", ".", "..") and part.isprintable() for part in name.split("/")):
            yield f"files.{name}: expected base/ and the path of a file in it"


def problems_of_task(
    task: TaskRecord, order: int, earlier: Mapping[str, TaskRecord], store: StoreRecord, cells: int
) -> Iterator[str]:
    """Of a task in its place: `order` by the chain, the tasks `earlier` than it, and the `cells` of all layers."""
    if domain_of(task.name) == GENERAL:
        yield f"name is {task.name!r}, which is the pruned base"
    if task.order != order:
        yield f"order is {task.order}, expected {order}: orders have no gaps, so a task was deleted or added"
    for name in task.reads:
        if name not in earlier:
            known = ", ".join(earlier) or "none, it is the first"
            yield f"reads {name!r}, expected tasks learned before it: {known}"
        if domain_of(name) == domain_of(task.name):
            yield f"reads {name!r}, expected tasks of other domains: a version can be freed without the later ones"
    for key, values in (("reads", task.reads), ("private", task.private)):
        if len(values) != len(set(values)):
            yield f"{key} is {values}, expected each once"
    files = [*_TASK_FILES, *([PRIVATE_FILE] if task.private else [])]
    if sorted(task.files) != sorted(files):
        named = f"expected {', '.join(sorted(files))}, as private is {task.private}"
        yield f"files are {', '.join(sorted(task.files))}, {named}"
    updates = [point.update for point in task.curve]
    if any(before > after for before, after in pairwise(updates)):
        yield f"curve: updates are {updates}, expected ascending ones"
    if (claimed := max((point.claimed for point in task.curve), default=0)) > cells:
        yield f"curve: claimed is {claimed}, but all layers have {cells} cells"
    if task.version == 1:
        if store.version == 2 or any(before.version > 1 for before in earlier.values()):
            yield "version is 1 after version 2"
        return
    if set(task.data) != {*_PARTS}:
        yield f"data holds {', '.join(task.data) or 'nothing'}, expected {', '.join(_PARTS)}"
    if not task.settings:
        yield "settings are empty, expected those of learning"


def problems_of_links(
    links: Sequence[Link],
    tasks: Sequence[TaskRecord],
    counts: Mapping[str, int],
    certificates: Sequence[Certificate],
    choices: Sequence[CurrentRecord],
) -> Iterator[str]:
    """Of head.json against what lies in the store: every record has one link, and freed ones have a certificate.

    `counts`: how many records there are of each kind that is numbered.
    """
    found, listed = {task.name: task for task in tasks}, [link.name for link in links if link.kind == "task"]
    for name in sorted({name for name in listed if listed.count(name) > 1}):
        yield f"head.json: links lists task {name!r} twice"
    for name in sorted({*listed} - {*found}):
        yield f"head.json: links lists task {name!r}, but there is no folder tasks/{name}"
    for link in links:
        if link.kind == "task" and link.name in found and link.chained != (found[link.name].previous is not None):
            yield f"head.json: links say that task {link.name!r} is chained: {link.chained}, which its version is not"
    counts = {**counts, CURRENT: len(choices)}
    for kind, where in (("growth", "grown"), ("freeing", "freed"), ("merge", "merged"), (CURRENT, CURRENT)):
        numbers = [link.name for link in links if link.kind == kind]
        if numbers != [str(number) for number in range(1, counts[kind] + 1)]:
            named = ", ".join(numbers) or "not at all"
            yield f"head.json: links number the records in {where}/ {named}, of {counts[kind]}"
    kinds = [link.kind for link in links]
    later = kinds[kinds.index("reservation") + 1 :] if "reservation" in kinds else []
    for kind in sorted({*later} - {"task", "merge", CURRENT}):
        yield f"head.json: links lists a {kind} after the reservation: a part of a store only learns and is merged"
    yield from _uncertified(links, certificates)
    yield from _never_learned(links, choices)


def _uncertified(links: Sequence[Link], certificates: Sequence[Certificate]) -> Iterator[str]:
    ordered = [link for link in links if link.kind in ("task", "freed")]
    freed = {(link.name, order, link.record) for order, link in enumerate(ordered, start=1) if link.kind == "freed"}
    named = [(task.name, task.order, task.record) for certificate in certificates for task in certificate.freed]
    for name, order, _ in sorted(freed - {*named}):
        yield f"head.json: links say that task {name!r}, order {order}, was freed, but no certificate names it"
    for name, order, record in sorted({*named} - freed):
        yield f"freed/: a certificate names task {name!r}, order {order}, record {record}, which head.json does not"
    if len(named) != len({*named}):
        yield "freed/: two certificates name the same task"


def _never_learned(links: Sequence[Link], choices: Sequence[CurrentRecord]) -> Iterator[str]:
    following, learned = iter(choices), set[str]()
    for link in links:
        if link.kind in ("task", "freed"):
            learned.add(link.name)
        elif link.kind == CURRENT and (task := next(following).task) not in learned:
            yield f"{CURRENT}/{link.name}.json: task is {task!r}, expected one that was learned before"
