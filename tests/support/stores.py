"""Stores around tiny random models, whose memories are drawn instead of learned."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.store.cells import general_mask
from fmalloc.store.invariants import PRIVATE_FILE
from fmalloc.store.records import DataRecord, PrivateKind, samples_bytes
from fmalloc.store.store import Store
from fmalloc.store.tensors import Memory, general_bytes, memory_bytes, private_bytes
from fmalloc_shared.files import sha256
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import NgramCounts
from tests.support.bases import (
    BASES,
    CORE_BASES,
    D_MODEL,
    LAYERS,
    PAIRS,
    VARIANTS,
    WIDTH,
    write_m2m100,
    write_marian,
    write_nllb,
)
from tests.support.killing import environment

Masks = dict[str, NDArray[np.bool_]]
_SPARSITY = 0.3

# Cells that the domain "odd" keeps: none in one layer, a single one in another.
ODD_WIDTHS = {"encoder.0": 0, "encoder.1": 1, "decoder.0": 7, "decoder.1": 22}


def write_store(path: Path, kind: str = "marian", *, samples: tuple[Pair, ...] = PAIRS) -> Store:
    """A store with `general`, a task "it" that owns cells, "odd" (see ODD_WIDTHS), and "late" that reads "it"."""
    write_base, family, (source, target) = (BASES | VARIANTS)[kind]
    prepared = path / ".work" / "prepared"
    write_base(prepared / "base")
    draw = np.random.default_rng(7)
    importance = {layer: draw.random(WIDTH) for layer in LAYERS}
    general = {layer: general_mask(values, _SPARSITY) for layer, values in importance.items()}
    (prepared / "general.safetensors").write_bytes(general_bytes(importance, general))
    _write_text_files(prepared, samples)
    store = _create(path, family, LanguagePair(source, target), LAYERS)
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


def write_deep_store(path: Path, decoder_layers: int, samples: tuple[Pair, ...]) -> Store:
    """A store with `general` alone, of a Marian base with so many decoder layers."""
    prepared = path / ".work" / "prepared"
    write_marian(prepared / "base", decoder_layers=decoder_layers)
    layers = [*LAYERS[:2], *(f"decoder.{index}" for index in range(decoder_layers))]
    draw = np.random.default_rng(7)
    importance = {layer: draw.random(WIDTH) for layer in layers}
    general = {layer: general_mask(values, _SPARSITY) for layer, values in importance.items()}
    (prepared / "general.safetensors").write_bytes(general_bytes(importance, general))
    _write_text_files(prepared, samples)
    return _create(path, "marian", LanguagePair("de", "en"), layers)


def _create(path: Path, family: str, languages: LanguagePair, layers: Sequence[str]) -> Store:
    scores = {"domains": {}, "signatures": {}}
    return Store.create(
        path,
        path / ".work" / "prepared",
        family=family,
        languages=languages,
        layers=[{"name": layer, "width": WIDTH} for layer in layers],
        sparsity=_SPARSITY,
        importance={"batches": 2, "batch_tokens": 64, "seed": 1, "rank_correlation": 0.5, "dead_cells": {}},
        base_scores=scores,
        general_scores=scores,
    )


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
    settings: Mapping[str, object] | None = None,
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
        private=list(get_args(PrivateKind)) if private else [],
        reads=reads or [],
        settings={"updates": 1, "reads": "general", **(settings or {})},
        data={part: DataRecord(pairs=len(PAIRS), sha256="0" * 64) for part in ("train", "dev", "test")},
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


def seal(path: Path) -> None:
    """Let the records of a store name the files and each other as they are now, as one who changed them would."""
    _mended(path / "store.json")
    before = json.loads((path / "head.json").read_bytes())["links"]
    links = [link for link in before if link["kind"] == "freed" or record_path(path, link).exists()]
    listed = {link["name"] for link in links if link["kind"] == "task"}
    folders = sorted(folder.name for folder in (path / "tasks").iterdir())
    links += [{"kind": "task", "name": name} for name in folders if name not in listed]
    head = sha256(path / "store.json")
    for link in links:
        if link["kind"] != "freed":
            record = record_path(path, link)
            _mended(record, head)
            link["record"] = sha256(record)
        head = hashlib.sha256(f"{head} {link['record']}".encode()).hexdigest()
    tasks = sum(link["kind"] == "task" for link in links)
    version = json.loads((path / "head.json").read_bytes()).get("version", 3)
    _written(path / "head.json", {"version": version, "tasks": tasks, "head": head, "links": links})


def _mended(record: Path, head: str = "") -> None:
    content = json.loads(record.read_bytes())
    mended = content | ({"files": _digests(record.parent, content["files"])} if "files" in content else {})
    mended |= {"before": head} if "before" in content and "stores" not in content else {}
    if mended != content:
        _written(record, mended)


def as_version(path: Path, version: int) -> Path:
    """The store as an older version wrote it: tasks name their order, in version 2 also the record before."""
    names = [link["name"] for link in json.loads((path / "head.json").read_bytes())["links"]]
    head = sha256(path / "store.json")
    if version == 1:
        _written(path / "store.json", json.loads((path / "store.json").read_bytes()) | {"version": 1})
    for order, name in enumerate(names, start=1):
        content = json.loads((path / f"tasks/{name}/task.json").read_bytes()) | {"version": version, "order": order}
        head = _written(path / f"tasks/{name}/task.json", content | ({"previous": head} if version == 2 else {}))
    if version == 1:
        (path / "head.json").unlink()
    else:
        _written(path / "head.json", {"version": 2, "tasks": len(names), "head": head})
    return path


def record_path(path: Path, link: Mapping[str, str]) -> Path:
    """Where the record of a link of head.json lies."""
    kinds = {
        "growth": "grown/{}/growth.json",
        "freeing": "freed/{}.json",
        "current": "current/{}.json",
        "reservation": "reserved/reservation.json",
        "merge": "merged/{}.json",
    }
    return path / kinds.get(link["kind"], "tasks/{}/task.json").format(link["name"])


def _digests(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    return {name: sha256(folder / name) if (folder / name).is_file() else files[name] for name in files}


def _written(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return sha256(path)


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
    mask[np.flatnonzero(general)[:count]] = True
    return mask


def _write_text_files(directory: Path, samples: tuple[Pair, ...]) -> None:
    counts = NgramCounts.of(pair.source for pair in PAIRS)
    (directory / "routing.safetensors").write_bytes(counts.to_bytes())
    (directory / "samples.jsonl").write_bytes(samples_bytes(samples))


__all__ = [
    "BASES",
    "CORE_BASES",
    "D_MODEL",
    "GENERAL",
    "LAYERS",
    "ODD_WIDTHS",
    "PAIRS",
    "VARIANTS",
    "WIDTH",
    "commit",
    "seal",
    "subprocess_environment",
    "tree_bytes",
    "write_m2m100",
    "write_nllb",
    "write_store",
]
