"""The engines of serving on a device, in all types that they compute in there, against what they write on a CPU."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu.sizes import Sizes
from fmalloc.corpus import read_pairs
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.diagnosis.engines import compute_types
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

ROOT = Path(__file__).resolve().parents[2]
_DOMAIN, _BASE, _RECIPE = "it", "base", "recipe.yaml"
_BATCH = 32
_OPTIONS = TranslationOptions(beam_size=4)


def make_bundles(folder: Path, device: str, sizes: Sizes) -> None:
    """The demo's way on a device: a base, a domain, and bundles of both engines; what is there is not made again."""
    if not (folder / "corpus").is_dir():
        _run([str(ROOT / "examples" / "toy" / "make_corpus.py"), "corpus"], folder)
    if not (folder / _BASE).is_dir():
        shape = "--vocab-size 1000 --d-model 96 --encoder-layers 2 --decoder-layers 2 --heads 4 --ffn 512"
        pace = f"--updates {sizes.updates} --batch-tokens 1500 --learning-rate 3e-3 --warmup-updates 150"
        rest = "--validate-every 100 --cooldown 0 --average 0 --validation-sentences 0"
        _fmalloc(
            f"pretrain --train corpus/general --output-dir {_BASE} --device {device} {shape} {pace} {rest}", folder
        )
    (folder / _RECIPE).write_text(yaml.safe_dump(_recipe(device, sizes)), encoding="utf-8")
    _fmalloc(f"train {_RECIPE}", folder)
    for engine in ("ctranslate2", "onnx"):
        if not (folder / engine).is_dir():
            _fmalloc(
                f"export --task {_DOMAIN} --store store --engine {engine} --output-dir {engine}",
                folder,
            )


def _recipe(device: str, sizes: Sizes) -> dict[str, Any]:
    """The demo's, of one task, with few sentences scored: how good it is does not matter here."""
    return {
        "base": _BASE,
        "general": "corpus/general",
        "store": "store",
        "samples": 20,
        "sparsity": 0.5,
        "device": device,
        "importance": {"batches": 10, "batch_tokens": 1000},
        "evaluation": {"sentences": sizes.lines, "beam_size": 2},
        "learning": {
            "updates": sizes.updates,
            "batch_tokens": 1000,
            "validate_every": sizes.updates,
            "validation_sentences": sizes.lines,
        },
        "tasks": [{"name": _DOMAIN, "data": f"corpus/{_DOMAIN}"}],
    }


def compare(folder: Path, device: str, sizes: Sizes) -> dict[str, Any]:
    """By engine and type: lines as on the CPU in float32, seconds to load it first and again, lines per second."""
    lines = [pair.source for pair in read_pairs(folder / "corpus" / _DOMAIN / "test", LanguagePair("de", "en"))]
    found: dict[str, Any] = {"lines": len(lines[: sizes.lines])}
    for engine in ("ctranslate2", "onnx"):
        bundle = Bundle.open(folder / engine / LiveIndex.of(folder / engine).domains[_DOMAIN])
        kinds = compute_types(device) if engine == "ctranslate2" else ["default"]
        expected, _ = _translated(bundle, EngineSettings("cpu", intra_threads=1), lines[: sizes.lines])
        found[engine] = {}
        for kind in kinds:
            try:
                texts, row = _translated(bundle, EngineSettings(device, kind), lines[: sizes.lines])
            except FmallocError as error:
                found[engine][kind] = {"lacks": str(error)}
                continue
            row["same_lines"] = sum(a == b for a, b in zip(texts, expected, strict=True))
            found[engine][kind] = row
    return found


def _translated(bundle: Bundle, settings: EngineSettings, lines: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    loads = []
    for _ in range(2):
        began = time.perf_counter()
        translator = Translator.load(bundle, settings)
        loads.append(round(time.perf_counter() - began, 3))
    sources = [translator.encode(line) for line in lines]
    engine, prefix = translator.engine, ()
    engine.translate(sources[:1], prefix, _OPTIONS)
    began, texts = time.perf_counter(), []
    for start in range(0, len(sources), _BATCH):
        for best, *_ in engine.translate(sources[start : start + _BATCH], prefix, _OPTIONS):
            texts.append(translator.tokenizer.decode(list(best.tokens)))
    rate = len(lines) / (time.perf_counter() - began)
    return texts, {"load_seconds": loads, "lines_per_second": round(rate, 1)}


def _fmalloc(arguments: str, folder: Path) -> None:
    _run(["-m", "fmalloc", *arguments.split()], folder)


def _run(arguments: Sequence[str], folder: Path) -> None:
    roots = os.pathsep.join(str(ROOT / root) for root in (".", "export", "runtime"))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FmallocError(f"{' '.join(arguments)}: ended with {done.returncode}: {done.stderr.strip()[-500:]}")
