"""Many domains of one base: what each costs in disk, memory, switching and speed, beside fine-tuned full copies."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import once
from benchmarks.compiler.unchecked import write_unchecked
from benchmarks.scoreboard.domains.made import SAID, complete, path_of
from fmalloc.store.store import Store
from fmalloc_export.bench.contestant import Contestant, converted
from fmalloc_export.bench.runner import fields_of
from fmalloc_export.bundles.inventory import Inventory
from fmalloc_export.bundles.pack import pack
from fmalloc_export.bundles.publish import bundle_paths, writing
from fmalloc_export.compiler import compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.transformer import one_thread
from fmalloc_export.options import Options
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_shared.commands.progress import console
from fmalloc_shared.languages import LanguagePair

COUNTS = (1, 2, 5, 10, 20)
_INT8 = Options(quantization="int8")
_DOCUMENT_LINES = 4
KINDS = ("fmalloc, packed", "fmalloc, plain", "full copies")


class Models(NamedTuple):
    """Domains, the folder of their bundles, and a whole model as CTranslate2 converts it."""

    names: list[str]
    bundles: Path
    copy: Path
    languages: LanguagePair


def measure_domains(
    store: Store,
    sources: Sequence[str],
    counts: Sequence[int],
    documents: int,
    repeats: int,
    beam_size: int,
    work: Path,
) -> dict[str, Any]:
    """Of each number of domains: bundles packed and plain, and as many copies of a whole model in CTranslate2.

    `sources` are made into so many documents, each of a domain by chance. The store is not written to.
    """
    models = models_of(store, max(counts), work)
    rows = []
    for count in counts:
        paths = _chosen(models, count, work / f"of-{count}")
        for kind in KINDS:
            kept = work / "measured" / f"{count}-{kind.replace(', ', '-').replace(' ', '-')}.json"
            row = once(kept, partial(_measure, count, kind, paths, sources, documents, repeats, beam_size))
            rows.append(row)
            console.print(f"{count} domains, {kind}: {row['disk_mb']:.1f} MB", markup=False)
    growth = {kind: _growth([row for row in rows if row["kind"] == kind]) for kind in KINDS}
    shown = "; ".join(f"{kind} {value:.2f} MB" for kind, value in growth.items() if value is not None)
    return {
        "counts": list(counts),
        "made": SAID,
        "beam_size": beam_size,
        "repeats": repeats,
        "rows": rows,
        "growth_mb": growth,
        "says": f"Disk that each further domain takes: {shown}." if shown else "",
    }


def models_of(store: Store, count: int, work: Path) -> Models:
    """Plain bundles of so many domains, and a full copy: its tokenizer is a bundle's, so that both are read alike."""
    own = work / "store"
    if not (own / "store.json").exists():
        shutil.copytree(store.path, own, copy_function=shutil.copyfile)
    names, bundles = complete(Store.open(own), count), work / "bundles"
    copied = Store.open(own)
    with one_thread():
        for name in names:
            if not list(bundles.glob(f"{name}@*")):
                console.print(f"compiling {name}", markup=False)
                write_unchecked(compile_at(Domain.load(copied, name), _INT8), _INT8, bundles)
    base = Contestant("base", "transformers", store.base, store.description.languages)
    if not (work / "copy" / "model.bin").exists():
        converted(base, "int8", work / "copy")
    return Models(names, bundles, work / "copy", store.description.languages)


def _chosen(models: Models, count: int, folder: Path) -> dict[str, list[Contestant]]:
    """Contestants of each kind for the first `count` domains."""
    names, languages = models.names[:count], models.languages
    plain = [path_of(models.bundles, name) for name in names]
    packed = folder / "packed"
    if not packed.exists():
        staged = folder / "packing"
        shutil.rmtree(staged, ignore_errors=True)
        for path in plain:
            shutil.copytree(path, staged / path.name)
        with writing(staged):
            pack(staged, [Bundle.open(path) for path in bundle_paths(staged)])
        staged.rename(packed)
    copy = models.copy
    return {
        "fmalloc, packed": [Contestant(name, "bundle", path_of(packed, name), languages) for name in names],
        "fmalloc, plain": [
            Contestant(name, "bundle", path, languages) for name, path in zip(names, plain, strict=True)
        ],
        "full copies": [Contestant(name, "ctranslate2", copy, languages, plain[0]) for name in names],
    }


def _measure(
    count: int,
    kind: str,
    paths: dict[str, list[Contestant]],
    sources: Sequence[str],
    documents: int,
    repeats: int,
    beam_size: int,
) -> dict[str, Any]:
    contestants = [contestant.at(1, beam_size, "cpu") for contestant in paths[kind]]
    draw = random.Random(count)
    lines = [sources[number % len(sources)] for number in range(documents * _DOCUMENT_LINES)]
    parts = [
        {"domain": draw.randrange(count), "lines": lines[start : start + _DOCUMENT_LINES]}
        for start in range(0, len(lines), _DOCUMENT_LINES)
    ]
    given = {"contestants": [fields_of(one) for one in contestants], "documents": parts, "repeats": repeats}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scoreboard.domains.process"],
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    middle = sorted(found["seconds"])[len(found["seconds"]) // 2]
    return {
        "domains": count,
        "kind": kind,
        "disk_mb": _disk(kind, contestants) / 1e6,
        "resident_mb": found["resident_bytes"] and found["resident_bytes"] / 1e6,
        "switch_ms": 1000 * found["switch_seconds"],
        "words_per_second": sum(len(line.split()) for line in lines) / middle,
        "seconds": found["seconds"],
    }


def _disk(kind: str, contestants: Sequence[Contestant]) -> int:
    """Bytes of all; of packed bundles with the files that they share."""
    if kind == "fmalloc, packed":
        return Inventory.of(contestants[0].path.parent).disk
    return sum(contestant.disk_bytes() for contestant in contestants)


def _growth(rows: Sequence[dict[str, Any]]) -> float | None:
    """Megabytes per further domain, from the fewest to the most."""
    first, last = rows[0], rows[-1]
    more = last["domains"] - first["domains"]
    return (last["disk_mb"] - first["disk_mb"]) / more if more else None
