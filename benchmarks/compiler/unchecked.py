"""Bundles of compiled models that nothing is compared with: what is measured beside them says what they are worth."""

import shutil
from pathlib import Path

from fmalloc_export.compiler import UNCHECKED, Compiled
from fmalloc_export.options import Options
from fmalloc_runtime.bundle import bundle as format_
from fmalloc_runtime.bundle.manifest import MANIFEST_FILE
from fmalloc_shared.files import sha256_files


def write_unchecked(compiled: Compiled, options: Options, bundles: Path) -> Path:
    """Write the bundle of a compiled domain into `bundles`, and return its folder."""
    domain, built = compiled.domain, bundles / "building"
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir(parents=True)
    domain.write_tokenizer(built / format_.TOKENIZER_DIRECTORY)
    compiled.emit(built / format_.MODEL_DIRECTORY, options.quantization)
    (built / format_.GOLDEN_FILE).write_bytes(b"")
    (built / format_.ROUTING_FILE).write_bytes(domain.store.routing(domain.task).to_bytes())
    manifest = compiled.manifest(options, UNCHECKED)
    manifest = manifest.model_copy(update={"passes": (), "files": sha256_files(built)})
    (built / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    path = bundles / manifest.bundle_name
    shutil.rmtree(path, ignore_errors=True)
    built.rename(path)
    return path
