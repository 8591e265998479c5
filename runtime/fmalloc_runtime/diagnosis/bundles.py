"""Checks of the live bundles: their files, their engines, memory and disk."""

import shutil
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from fmalloc_runtime.bundle.bundle import LIVE_FILE, Bundle, LiveIndex
from fmalloc_runtime.diagnosis import machine
from fmalloc_runtime.diagnosis.engines import compute_types
from fmalloc_runtime.engines.base import version_tuple
from fmalloc_runtime.live.loading import model_bytes
from fmalloc_runtime.tokenizer.tokenizer import CONFIG_FILE, TokenizerConfig
from fmalloc_shared.commands.findings import Check, Finding
from fmalloc_shared.commands.outputs import readable
from fmalloc_shared.errors import FmallocError

_PACKAGES = {"ctranslate2": ("ctranslate2",), "onnx": ("onnxruntime", "onnxruntime-gpu")}


def checks(bundles: Path) -> list[Check]:
    """All checks of this part."""
    return [partial(examine_bundles, bundles)]


def examine_bundles(bundles: Path) -> Iterator[Finding]:
    """Findings about live.json, each live bundle, memory and disk."""
    try:
        index = LiveIndex.of(bundles)
    except FmallocError as error:
        advice = "name the directory that fmalloc export writes to: fmalloc doctor BUNDLES"
        yield Finding("bundles", "fail", str(error), advice)
        return
    if not index.domains:
        yield Finding("bundles", "fail", f"{bundles / LIVE_FILE}: no domain is live", "run fmalloc export")
        return
    sizes = []
    for domain, name in sorted(index.domains.items()):
        try:
            bundle = Bundle.open(bundles / name)
            sizes.append(model_bytes(bundle))
            yield from _bundle(domain, bundle)
        except FmallocError as error:
            yield Finding(
                f"bundle {domain}", "fail", str(error), "compile it again with fmalloc export, or copy it again"
            )
    yield from machine.memory(sum(sizes))
    yield from _disk(bundles, max(sizes, default=0))


def _bundle(domain: str, bundle: Bundle) -> Iterator[Finding]:
    check, engine = f"bundle {domain}", bundle.manifest.engine
    found = _engine_version(engine.name)
    if found is None or version_tuple(found) < version_tuple(engine.minimum_version):
        package = _PACKAGES.get(engine.name, (engine.name,))[0]
        needed = f"needs {engine.name} {engine.minimum_version}, found {found or 'none'}"
        yield Finding(check, "fail", needed, f"pip install '{package}>={engine.minimum_version}'")
        return
    if TokenizerConfig.read(bundle.tokenizer / CONFIG_FILE).kind == "moses" and find_spec("sacremoses") is None:
        yield Finding(check, "fail", "its text needs sacremoses", "pip install 'fmalloc[moses]'")
        return
    types = compute_types("cuda") or compute_types("cpu")
    if engine.name == "ctranslate2" and types and engine.quantization not in types:
        advice = f"compile it with --quantization {' or '.join(types)} for this machine"
        yield Finding(check, "warn", f"{engine.quantization} weights are converted when they are loaded", advice)
        return
    yield Finding(check, "ok", f"{bundle.name}, {engine.name} {engine.quantization}, every file is whole")


def _engine_version(name: str) -> str | None:
    for package in _PACKAGES.get(name, ()):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def _disk(bundles: Path, largest: int) -> Iterator[Finding]:
    free = shutil.disk_usage(bundles).free
    if free < largest:
        advice = "make room: a new version of a bundle is written beside the old one"
        yield Finding("disk", "warn", f"{readable(free)} free beside {bundles}", advice)
    else:
        yield Finding("disk", "ok", f"{readable(free)} free beside {bundles}")
