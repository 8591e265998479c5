"""Many domains of one base: those that were learned, and others of the same size with masks drawn by chance."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.store.invariants import PRIVATE_FILE
from fmalloc.store.records import samples_bytes
from fmalloc.store.store import Store
from fmalloc.store.tensors import Memory, memory_bytes, private_bytes

SAID = (
    "Domains beyond those that were learned have as many cells as one of them, drawn by chance, none of their own, and "
    "its private parameters in another order: they translate nothing, and are as large and as fast."
)


def complete(store: Store, count: int) -> list[str]:
    """Commit tasks until there are `count`; names of so many."""
    learned = [task.name for task in store.tasks() if not task.name.startswith(_MADE)]
    known = [task.name for task in store.tasks()]
    for number in range(len(known), count):
        _commit(store, f"{_MADE}{number}", learned[number % len(learned)], number)
    return [task.name for task in store.tasks()][:count]


_MADE = "made-"


def _commit(store: Store, name: str, like: str, seed: int) -> None:
    draw, task = np.random.default_rng(seed), store.task(like)
    general, memories = store.mask("general"), {}
    for layer, memory in store.memory(like).items():
        cells = np.flatnonzero(general[layer])
        mask = np.zeros_like(memory.mask)
        mask[draw.choice(cells, min(int(memory.mask.sum()), len(cells)), replace=False)] = True
        width = memory.fc1_weight.shape[1]
        none = np.zeros(0, dtype=np.int64), np.zeros((0, width), dtype=np.float32), np.zeros(0, dtype=np.float32)
        memories[layer] = Memory(mask, *none, np.zeros((width, 0), dtype=np.float32))
    staged = store.path / ".work" / name
    staged.mkdir(parents=True, exist_ok=True)
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    if private := store.private(like):
        shuffled = {part: _shuffled(values, draw) for part, values in private.items()}
        (staged / PRIVATE_FILE).write_bytes(private_bytes(shuffled))
    (staged / "routing.safetensors").write_bytes(store.routing(like).to_bytes())
    (staged / "samples.jsonl").write_bytes(samples_bytes(store.samples(like)))
    store.commit(
        staged,
        name=name,
        private=list(task.private),
        reads=[],
        settings=task.settings,
        data=task.data,
        scores={"domains": {}, "signatures": {}},
        dev={"bleu": 0.0, "chrf": 0.0},
        curve=[],
    )


def _shuffled(values: NDArray[Any], draw: np.random.Generator) -> NDArray[Any]:
    """In another order of rows; rows of zeros, as that of the token of padding has to be, stay where they are."""
    rows, found = np.flatnonzero(values.reshape(len(values), -1).any(axis=1)), values.copy()
    found[rows] = values[draw.permutation(rows)]
    return found


def path_of(bundles: Path, name: str) -> Path:
    """The only bundle of a domain."""
    return next(bundles.glob(f"{name}@*"))
