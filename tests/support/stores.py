"""Stores around tiny random models, whose memories are drawn instead of learned."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.store.records import samples_bytes
from fmalloc.store.store import PRIVATE_FILE, Store
from fmalloc.store.tensors import Memory, general_bytes, memory_bytes, private_bytes
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import NgramCounts
from tests.support.bases import BASES, CORE_BASES, D_MODEL, LAYERS, PAIRS, WIDTH, write_m2m100, write_nllb
from tests.support.killing import environment

Masks = dict[str, NDArray[np.bool_]]

# Cells that the domain "odd" keeps: none in one layer, a single one in another.
ODD_WIDTHS = {"encoder.0": 0, "encoder.1": 1, "decoder.0": 7, "decoder.1": 32}


def write_store(path: Path, kind: str = "marian", *, samples: tuple[Pair, ...] = PAIRS) -> Store:
    """A store with `general`, a task "it" that owns cells, "odd" (see ODD_WIDTHS), and "late" that reads "it"."""
    write_base, family, (source, target) = BASES[kind]
    prepared = path / ".work" / "prepared"
    write_base(prepared / "base")
    draw = np.random.default_rng(7)
    general = {layer: draw.random(WIDTH) > 0.3 for layer in LAYERS}
    importance = {layer: draw.random(WIDTH) for layer in LAYERS}
    (prepared / "general.safetensors").write_bytes(general_bytes(importance, general))
    _write_text_files(prepared, samples)
    scores = {"domains": {}, "signatures": {}}
    store = Store.create(
        path,
        prepared,
        family=family,
        languages=LanguagePair(source, target),
        layers=[{"name": layer, "width": WIDTH} for layer in LAYERS],
        sparsity=0.3,
        importance={"batches": 2, "batch_tokens": 64, "seed": 1, "rank_correlation": 0.5, "dead_cells": {}},
        base_scores=scores,
        general_scores=scores,
    )
    free = {layer: np.flatnonzero(~general[layer]) for layer in LAYERS}
    it = {layer: cells[: len(cells) // 2] for layer, cells in free.items()}
    late = {layer: cells[len(cells) // 2 :] for layer, cells in free.items()}
    it_mask = {layer: _switched(general[layer] & (draw.random(WIDTH) > 0.4), it[layer]) for layer in LAYERS}
    none = {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}
    odd_mask = {layer: _first_general(general[layer], count) for layer, count in ODD_WIDTHS.items()}
    late_mask = {layer: _switched(it_mask[layer], late[layer]) for layer in LAYERS}
    commit(store, "it", it_mask, it, samples, seed=1)
    commit(store, "odd", odd_mask, none, samples, seed=2)
    commit(store, "late", late_mask, late, samples, seed=3, reads=["it"])
    return store


def commit(
    store: Store,
    name: str,
    masks: Masks,
    cells: Mapping[str, NDArray[np.int64]],
    samples: tuple[Pair, ...],
    *,
    seed: int,
    reads: list[str] | None = None,
    private: Mapping[str, NDArray[np.float32]] | None = None,
) -> None:
    """Add a task that owns `cells` with weights drawn from `seed`, and `private` parameters."""
    draw = np.random.default_rng(seed)
    staged = store.path / ".work" / name
    staged.mkdir(parents=True)
    memories = {
        layer: Memory(
            mask=masks[layer],
            cells=owned,
            fc1_weight=draw.normal(size=(len(owned), D_MODEL)).astype(np.float32),
            fc1_bias=draw.normal(size=len(owned)).astype(np.float32),
            fc2_weight=draw.normal(size=(D_MODEL, len(owned))).astype(np.float32),
        )
        for layer, owned in cells.items()
    }
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    if private:
        (staged / PRIVATE_FILE).write_bytes(private_bytes(private))
    _write_text_files(staged, samples)
    store.commit(
        staged,
        name=name,
        private=["norms", "biases", "attention", "embeddings", "output"] if private else [],
        order=len(store.tasks()) + 1,
        reads=reads or [],
        settings={},
        data={},
        scores={"domains": {}, "signatures": {}},
        dev={"bleu": 1.0, "chrf": 1.0},
        curve=[],
    )


def tree_bytes(directory: Path) -> dict[str, bytes]:
    """Every file below a directory with its content."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def subprocess_environment() -> dict[str, str]:
    """The environment for `python -m fmalloc export`, one thread a process.

    Where a test sets more threads than there are free cores, they sleep while they wait for each other.
    """
    return environment(PYTHONWARNINGS="ignore", GOMP_SPINCOUNT="0")


def _switched(mask: NDArray[np.bool_], cells: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = mask.copy()
    mask[cells] = True
    return mask


def _first_general(general: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    mask = np.zeros_like(general)
    order = np.concatenate([np.flatnonzero(general), np.flatnonzero(~general)])
    mask[order[:count]] = True
    return mask


def _write_text_files(directory: Path, samples: tuple[Pair, ...]) -> None:
    counts = NgramCounts.of(pair.source for pair in PAIRS)
    (directory / "routing.safetensors").write_bytes(counts.to_bytes())
    (directory / "samples.jsonl").write_bytes(samples_bytes(samples))


__all__ = [
    "BASES",
    "CORE_BASES",
    "GENERAL",
    "LAYERS",
    "ODD_WIDTHS",
    "PAIRS",
    "WIDTH",
    "commit",
    "subprocess_environment",
    "tree_bytes",
    "write_m2m100",
    "write_nllb",
    "write_store",
]
