"""Bundles of one base that differ in the cells they keep, as domains do."""

from pathlib import Path

import numpy as np

from fmalloc_export.bundles.pack import pack, unpack
from fmalloc_export.bundles.publish import writing
from fmalloc_runtime.bundle.bundle import Bundle, EngineInfo
from tests.support.bundles import make_live, write_bundle

WIDTH = 32
CELLS = 512
DOMAINS = ("general", "it", "kitchen")


def write_family(bundles: Path, domains: tuple[str, ...] = DOMAINS, quantization: str = "float32") -> list[Path]:
    """Live bundles; each keeps most cells of the base and, like a task, a few that no other has."""
    bundles.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(3)
    engine = EngineInfo(name="ctranslate2", minimum_version="4.0", quantization=quantization)
    paths = []
    for index, domain in enumerate(domains):
        general = np.flatnonzero(draw.random(CELLS - 100) > 0.05)
        own = CELLS - 100 + 10 * index + np.arange(10)
        model = {
            "width": WIDTH,
            "cells": CELLS,
            "kept": [*general, *own],
            "quantization": None if quantization == "float32" else quantization,
        }
        paths.append(write_bundle(bundles, domain, seed=5, model=model, engine=engine))
    make_live(bundles, *paths)
    return paths


def packed(bundles: Path, *names: str) -> None:
    """Pack these bundles, or all."""
    with writing(bundles):
        pack(bundles, [Bundle.open(path) for path in sorted(bundles.glob("*@*")) if not names or path.name in names])


def unpacked(bundles: Path) -> None:
    """Unpack all bundles."""
    with writing(bundles):
        unpack(bundles, [Bundle.open(path) for path in sorted(bundles.glob("*@*"))])


def delta_of(bundles: Path, domain: str = "it") -> Path:
    (path,) = bundles.glob(f"{domain}@*/model/model.bin.delta")
    return path
