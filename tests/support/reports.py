"""Stores and a comparison made of records, for reports: as many domains as wanted, nothing trained."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from fmalloc.methods.comparison.record import Comparison, Learned, MethodRow, MethodRun
from fmalloc.store.cells import general_mask
from fmalloc.store.records import CurvePoint, DataRecord, ImportanceRecord, Layer, Score, Scores
from fmalloc.store.store import Store
from fmalloc.store.tensors import Memory, general_bytes, memory_bytes
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import NgramCounts

LAYERS = ("encoder.0", "encoder.1", "decoder.0")
WIDTH = 100
_D_MODEL = 2
SIGNATURES = {"bleu": "tok:13a|<b>", "chrf": "nc:6"}
HOSTILE = '<script>alert("x")</script>'


def score(bleu: float, nll: float | None = None) -> Score:
    """A score with chrF 20 above BLEU, and an interval of 1 to either side."""
    interval = [bleu - 1, bleu + 1]
    return Score(bleu=bleu, chrf=bleu + 20, nll=nll, bleu_interval=interval)


def empty_store(path: Path, sparsity: float = 0.4) -> Store:
    """A store without a task, whose base was scored on general text alone."""
    prepared = path / ".work" / "prepared"
    (prepared / "base").mkdir(parents=True)
    (prepared / "base" / "config.json").write_text(json.dumps({"model_type": "marian", "remark": HOSTILE}))
    (prepared / "base" / "model.safetensors").write_bytes(_base_bytes())
    importance = {layer: np.arange(WIDTH, dtype=np.float64) * 1e-6 for layer in LAYERS}
    masks = {layer: general_mask(values, sparsity) for layer, values in importance.items()}
    (prepared / "general.safetensors").write_bytes(general_bytes(importance, masks))
    _write_text_files(prepared)
    dead = {layer: index for index, layer in enumerate(LAYERS)}
    return Store.create(
        path,
        prepared,
        family="marian",
        languages=LanguagePair(source="de", target="en"),
        layers=[Layer(name=layer, width=WIDTH) for layer in LAYERS],
        sparsity=sparsity,
        importance=ImportanceRecord(batches=8, batch_tokens=100, seed=1, rank_correlation=0.5, dead_cells=dead),
        base_scores=Scores(domains={GENERAL: score(30.0)}, signatures=SIGNATURES),
        general_scores=Scores(domains={GENERAL: score(29.5)}, signatures=SIGNATURES),
    )


def add_task(
    store: Store, name: str, claims: Sequence[int], *, curve: Sequence[CurvePoint] | None = None, settings: str = ""
) -> None:
    """Commit a task that claims so many free cells of each layer, and reads all cells of general and earlier tasks."""
    earlier, table = store.tasks(), store.cells()
    memories = {}
    for layer, count in zip(LAYERS, claims, strict=True):
        cells = table.free(layer)[:count]
        mask = table.owners[layer] >= 0
        mask[cells] = True
        zeros = np.zeros((count, _D_MODEL), dtype=np.float32)
        memories[layer] = Memory(mask, cells, zeros, zeros[:, 0].copy(), zeros.T.copy())
    staged = store.path / ".work" / name
    staged.mkdir(parents=True)
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    _write_text_files(staged)
    points = list(points_of(earlier=[task.name for task in earlier]) if curve is None else curve)
    known = {GENERAL: score(29.5), **{task.name: task.scores.domains[task.name] for task in earlier}}
    store.commit(
        staged,
        name=name,
        reads=[task.name for task in earlier],
        settings={"updates": 30, "note": settings},
        data={part: DataRecord(pairs=1234, sha256="ab" * 32) for part in ("train", "dev", "test")},
        scores=Scores(domains={**known, name: score(40.0 + len(earlier), nll=1.5)}, signatures=SIGNATURES),
        dev=Score(bleu=points[-1].bleu, chrf=points[-1].chrf) if points else score(0.0),
        curve=points,
    )


def _base_bytes() -> bytes:
    """The feed-forward layers alone."""
    tensors = {}
    for layer in LAYERS:
        stack, _, index = layer.partition(".")
        for part, shape in (("fc1", (WIDTH, _D_MODEL)), ("fc2", (_D_MODEL, WIDTH))):
            tensors[f"model.{stack}.layers.{index}.{part}.weight"] = np.zeros(shape, dtype=np.float32)
            tensors[f"model.{stack}.layers.{index}.{part}.bias"] = np.zeros(shape[0], dtype=np.float32)
    return bytes(save(tensors))


def _write_text_files(directory: Path) -> None:
    (directory / "routing.safetensors").write_bytes(NgramCounts.of(["kein Text"]).to_bytes())
    (directory / "samples.jsonl").write_bytes(b"")


def points_of(earlier: Sequence[str] = (), updates: int = 30, bleu: float = 10.0) -> list[CurvePoint]:
    """A curve whose last point is its best; earlier domains keep their NLL."""
    return [
        CurvePoint(
            update=update,
            bleu=bleu * (1 + update / 30) if bleu else 0.0,
            chrf=30.0 + update if bleu else 0.0,
            nll=4 - update / 20,
            nll_shuffled=5.0,
            claimed=update,
            loss=None if update == 0 else 3.5,
            earlier={domain: 2.0 + index for index, domain in enumerate(earlier)},
        )
        for update in range(0, updates + 1, 10)
    ]


def comparison() -> Comparison:
    """Two orders of `it` and `law` by single, by sequential, which loses 4 BLEU of the first, and by fmalloc."""
    base = {GENERAL: score(30.0, 2.0), "it": score(20.0, 3.0), "law": score(24.0, 2.6)}
    runs = []
    for method, reached, lost in (("single", 30.0, 0.0), ("sequential", 30.0, 4.0), ("fmalloc", 29.0, 0.0)):
        for order in (["it", "law"], ["law", "it"]):
            first, second = order
            nll = 4.0 - reached / 10
            now = {**base, first: score(reached, nll)}
            then = {**now, first: score(reached - lost, nll + lost / 10), second: score(reached, nll)}
            curve = [point.model_copy(update={"earlier": {first: 2.0}}) for point in points_of()]
            curve[1] = curve[1].model_copy(update={"earlier": {first: 2.0 + lost / 4}})
            learned = {
                task: Learned(curve=points, trained_parameters=1_234_567, bytes=2_500_000, seconds=None)
                for task, points in zip(order, (points_of(), curve), strict=True)
            }
            rows = [MethodRow(after=first, scores=now), MethodRow(after=second, scores=then)]
            used = 0.25 if method == "fmalloc" else None
            settings = {"weight": 0.5} if method == "sequential" else {}
            runs.append(
                MethodRun(method=method, order=order, rows=rows, learned=learned, capacity_used=used, settings=settings)
            )
    return Comparison(
        base="opus-mt-de-en",
        languages=LanguagePair(source="de", target="en"),
        domains=[GENERAL, "it", "law"],
        learning={"updates": 30},
        evaluation={"beam_size": 4},
        versions={"torch": "2.13.0"},
        signatures=SIGNATURES,
        base_scores=base,
        runs=runs,
    )
