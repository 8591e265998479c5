"""The model repository: one model per live domain, and one that routes between them."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fmalloc_export.triton.files import domain_config, domain_model, routing_config, routing_model
from fmalloc_export.triton.layout import CONFIG_FILE, MODEL_FILE, next_version, update
from fmalloc_export.triton.options import TritonOptions
from fmalloc_runtime.bundle.bundle import (
    LIVE_FILE,
    MANIFEST_FILE,
    MODEL_DIRECTORY,
    ROUTING_FILE,
    SIGNATURE_FILE,
    Bundle,
    LiveIndex,
)
from fmalloc_runtime.routing.costs import ROUTING_COSTS_FILE, RoutingCosts
from fmalloc_shared.commands.outputs import check_folder
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sync_directory, sync_tree


def write_triton_repository(
    bundles: Path, output: Path, options: TritonOptions | None = None, *, force: bool = False
) -> dict[str, int]:
    """Write the live bundles of `bundles` as the model repository `output`; return the versions by model.

    A new repository appears whole or not at all. With `force`, an existing one is updated model by model, the routing
    model last. A model whose content changed gets the next version, which appears whole, so that a Triton that
    watches the folder keeps serving.
    Raises FmallocError, and changes nothing, if a bundle is damaged, or if `output` exists and `force` is not given.
    """
    options = options or TritonOptions()
    live = _read_live(bundles, options)
    _check_output(output, force)
    check_folder(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as work:
        built = Path(work) / "built"
        versions = {domain: _write_domain(built, output, bundle, options) for domain, bundle in live.items()}
        versions[options.router] = _write_router(built, output, bundles, live, options)
        sync_tree(built)
        if output.exists():
            update(output, built, last=options.router, trash=Path(work))
        else:
            built.rename(output)
            sync_directory(output.parent)
    return versions


def _read_live(bundles: Path, options: TritonOptions) -> Mapping[str, Bundle]:
    index = LiveIndex.of(bundles)
    if not index.domains:
        raise FmallocError(f"{bundles / LIVE_FILE}: no domain is live: run fmalloc export first")
    if options.router in index.domains:
        raise FmallocError(f"{options.router!r} is a domain: choose another name for the routing model (--router)")
    return {domain: Bundle.open(bundles / name) for domain, name in sorted(index.domains.items())}


def _check_output(output: Path, force: bool) -> None:
    if not output.exists():
        return
    if not force:
        raise FmallocError(f"{output} exists; --force updates it")
    if not output.is_dir():
        raise FmallocError(f"{output} is not a directory; nothing was changed")
    if strange := sorted(path.name for path in output.iterdir() if not (path / CONFIG_FILE).is_file()):
        raise FmallocError(f"{output}: {strange[0]} is not a model of a Triton repository; nothing was changed")


def _write_domain(built: Path, output: Path, bundle: Bundle, options: TritonOptions) -> int:
    domain = bundle.manifest.domain
    version = next_version(output / domain, {bundle.name})
    folder = _write_model(built / domain, version, domain_config(domain, options), domain_model(domain))
    _copy(bundle, folder / bundle.name)
    return version


def _write_router(built: Path, output: Path, bundles: Path, live: Mapping[str, Bundle], options: TritonOptions) -> int:
    """Write what routing reads: live.json, the threshold, and each bundle's manifest and n-gram counts."""
    name = options.router
    costs = RoutingCosts.of(bundles)
    same = {bundle.name for bundle in live.values()}
    version = next_version(output / name, same, costs)
    folder = _write_model(built / name, version, routing_config(options), routing_model())
    index = LiveIndex(domains={domain: bundle.name for domain, bundle in live.items()})
    (folder / LIVE_FILE).write_bytes(index.to_bytes())
    if costs is not None:
        (folder / ROUTING_COSTS_FILE).write_bytes(costs.to_bytes())
    for bundle in live.values():
        (folder / bundle.name).mkdir()
        for file in (MANIFEST_FILE, ROUTING_FILE):
            shutil.copyfile(bundle.path / file, folder / bundle.name / file)
    return version


def _write_model(folder: Path, version: int, config: str, model: str) -> Path:
    """Write config.pbtxt and model.py; return the folder of the version."""
    inner = folder / str(version)
    inner.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(config, encoding="utf-8")
    (inner / MODEL_FILE).write_text(model, encoding="utf-8")
    return inner


def _copy(bundle: Bundle, destination: Path) -> None:
    """Copy a bundle, with packed model files as plain ones."""
    for name in (MANIFEST_FILE, SIGNATURE_FILE, *bundle.manifest.files):
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        if (bundle.path / name).is_file():
            shutil.copyfile(bundle.path / name, destination / name)
    for name, content in (bundle.model_files() or {}).items():
        (destination / MODEL_DIRECTORY / name).write_bytes(content)
    Bundle.open(destination)
