"""A bundle of a model with random weights in the shape of a real one: what the server's throughput depends on."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compiler.shapes import DOMAIN, Shape, store_of
from benchmarks.compiler.unchecked import write_unchecked
from benchmarks.serving.process import make_live
from fmalloc.corpus import Pair
from fmalloc_export.compiler import compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.options import Options
from fmalloc_runtime.bundle import bundle as format_

_QUANTIZATION = "int8"


def bundles_of(shape: Shape, text: Sequence[Pair], work: Path) -> Path:
    """A directory that serves the shape's domain at -O0 in int8; nothing is checked, since it translates nothing."""
    bundles = work / "bundles"
    if (bundles / format_.LIVE_FILE).exists():
        return bundles
    shutil.rmtree(bundles, ignore_errors=True)
    domain = Domain.load(store_of(shape, work / "store", text), DOMAIN)
    options = Options(quantization=_QUANTIZATION)
    path = write_unchecked(compile_at(domain, options), options, bundles)
    make_live(bundles, {DOMAIN: path.name})
    return bundles
