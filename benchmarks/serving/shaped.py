"""A bundle of a model with random weights in the shape of a real one: what the server's throughput depends on."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compiler.shapes import DOMAIN, Shape, store_of
from benchmarks.serving.process import make_live
from fmalloc.corpus import Pair
from fmalloc_export.compiler import UNCHECKED, compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.options import Options
from fmalloc_runtime.bundle import bundle as format_
from fmalloc_runtime.bundle.manifest import MANIFEST_FILE
from fmalloc_shared.files import sha256_files

_QUANTIZATION = "int8"


def bundles_of(shape: Shape, text: Sequence[Pair], work: Path) -> Path:
    """A directory that serves the shape's domain at -O0 in int8; nothing is checked, since it translates nothing."""
    bundles = work / "bundles"
    if (bundles / format_.LIVE_FILE).exists():
        return bundles
    shutil.rmtree(bundles, ignore_errors=True)
    domain = Domain.load(store_of(shape, work / "store", text), DOMAIN)
    compiled = compile_at(domain, Options(quantization=_QUANTIZATION))
    built = bundles / "building"
    built.mkdir(parents=True)
    domain.write_tokenizer(built / format_.TOKENIZER_DIRECTORY)
    compiled.emit(built / format_.MODEL_DIRECTORY, _QUANTIZATION)
    (built / format_.GOLDEN_FILE).write_bytes(b"")
    (built / format_.ROUTING_FILE).write_bytes(domain.store.routing(DOMAIN).to_bytes())
    manifest = compiled.manifest(Options(quantization=_QUANTIZATION), UNCHECKED)
    manifest = manifest.model_copy(update={"passes": (), "files": sha256_files(built)})
    (built / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    built.rename(bundles / manifest.bundle_name)
    make_live(bundles, {DOMAIN: manifest.bundle_name})
    return bundles
