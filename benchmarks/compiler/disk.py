"""How much disk ten domains of one base take, plain and packed.

A store that `make real` learned is completed to ten domains: the further ones claim equal shares of the cells that are
still free, with the base's own weights disturbed, and bring real text for routing and calibration.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fmalloc.corpus import Corpus, Pair, read_pairs
from fmalloc.corpus.pairs import Pairs
from fmalloc.learning.create import routing_bytes
from fmalloc.model.assembly import load_dense
from fmalloc.store.records import samples_bytes
from fmalloc.store.store import Store
from fmalloc.store.tensors import Memory, memory_bytes
from fmalloc_export.bundles.inventory import Inventory
from fmalloc_export.bundles.pack import pack
from fmalloc_export.bundles.publish import bundle_paths, writing
from fmalloc_export.domain.domain import Domain, domain_model
from fmalloc_export.options import Level, Options
from fmalloc_export.passes.text import CalibrationText
from fmalloc_export.publication import export_domain
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_shared.commands.progress import console
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL

_DOMAINS = 10
_SAMPLES = 40
_KEEP = 0.5
_NOISE = 0.3
_CASES: tuple[tuple[Level, str], ...] = (("O0", "float32"), ("O0", "int8"), ("O2", "int8"))


def measure(learned: Store, corpora: Path, work: Path) -> dict[str, Any]:
    """By level and type: megabytes of one bundle, of all plain and of all packed."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(learned.path, work / "store")
    store = Store.open(work / "store")
    texts = _complete(store, corpora)
    found = {}
    for level, quantization in _CASES:
        bundles = work / f"{level}-{quantization}"
        # Sizes are measured, of domains that are mostly noise: what they lose does not matter.
        lossy = level != "O0"
        options = Options(
            "ctranslate2", quantization, level, _KEEP if level == "O2" else None, allow_quality_drop=lossy
        )
        with writing(bundles):
            for name, text in texts.items():
                calibration = CalibrationText(text) if lossy else None
                export_domain(Domain.load(store, name), bundles, options, calibration, live=False)
        found[f"-{level} {quantization}"] = row = packed(bundles)
        console.print(f"-{level} {quantization}: {row['packed']:.1f} MB, {row['in_bundles']:.2f} times one bundle")
    return found


def packed(bundles: Path) -> dict[str, Any]:
    """Pack all bundles of a directory.

    `domains`: how many; `one_bundle` on average, `plain` all of them, and `packed`: megabytes; `in_bundles`: packed, in
    units of one bundle.
    """
    with writing(bundles):
        plain = Inventory.of(bundles)
        pack(bundles, [Bundle.open(path) for path in bundle_paths(bundles)])
    found = Inventory.of(bundles)
    return {
        "domains": len(found.entries),
        "one_bundle": plain.plain / len(plain.entries) / 1e6,
        "plain": plain.plain / 1e6,
        "packed": found.disk / 1e6,
        "in_bundles": found.ratio,
    }


def _complete(store: Store, corpora: Path) -> dict[str, tuple[Pair, ...]]:
    """Commit tasks until there are ten domains; calibration text by domain."""
    languages = LanguagePair("de", "en")
    names = sorted(path.name for path in corpora.iterdir() if (path / "train.tsv").exists())
    texts = {name: read_pairs(corpora / name, languages) for name in names}
    known = [GENERAL, *(task.name for task in store.tasks())]
    new = [name for name in names if name not in known]
    for index in range(_DOMAINS - len(known) - len(new)):
        source = names[index]
        new.append(f"{source}-client")
        texts[new[-1]] = texts[source][1::2]
    free = {layer: store.cells().free(layer) for layer in store.layers}
    for number, name in enumerate(new):
        _commit(store, name, {layer: np.sort(cells[number :: len(new)]) for layer, cells in free.items()}, texts[name])
    return {name: texts[name] for name in (*known, *new)}


def _commit(store: Store, name: str, cells: Any, text: tuple[Pair, ...]) -> None:
    order = len(store.tasks()) + 1
    draw = np.random.default_rng(order)
    base, _ = load_dense(store, GENERAL)
    mask = store.mask(GENERAL)
    memories = {}
    for layer in domain_model(GENERAL, base, mask, np.arange(1)).feed_forward:
        own = cells[layer.name]
        used = mask[layer.name] & (draw.random(layer.width) < 0.95)
        used[own] = True
        weights = (layer.fc1_weight[own], layer.fc1_bias[own], layer.fc2_weight[:, own])
        disturbed = ((w + _NOISE * w.std() * draw.normal(size=w.shape)).astype(np.float32) for w in weights)
        memories[layer.name] = Memory(used, own, *disturbed)
    staged = store.path / ".work" / name
    staged.mkdir(parents=True)
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    (staged / "routing.safetensors").write_bytes(routing_bytes(Corpus(Pairs.of(text), (), ())))
    (staged / "samples.jsonl").write_bytes(samples_bytes(text[:_SAMPLES]))
    nothing: dict[str, dict[str, float]] = {"domains": {}, "signatures": {}}
    of = {"name": name, "reads": [], "settings": {}, "data": {}, "scores": nothing}
    store.commit(staged, **of, dev={"bleu": 0.0, "chrf": 0.0}, curve=[])
