"""Models and versions in a repository that Triton may be watching."""

import re
from collections.abc import Collection
from pathlib import Path

from fmalloc_runtime.routing.costs import RoutingCosts
from fmalloc_shared.files import sync_directory, write_atomically

CONFIG_FILE = "config.pbtxt"
MODEL_FILE = "model.py"


def next_version(model: Path, bundles: Collection[str], costs: RoutingCosts | None = None) -> int:
    """The latest version of `model` if it holds these bundles and costs; otherwise the next one, or 1."""
    versions = _versions(model)
    if not versions:
        return 1
    last = max(versions)
    before = model / str(last)
    same = {path.name for path in before.glob("*@*")} == set(bundles) and RoutingCosts.of(before) == costs
    return last if same else last + 1


def update(repository: Path, built: Path, *, last: str, trash: Path) -> None:
    """Update `repository` to the content of `built`, with the model `last` after all others.

    Replaced files move to `trash`. If this is interrupted, every model is whole, and none routes to a missing one. The
    version before the newest stays, because Triton may be loading it.
    """
    names = sorted((path.name for path in built.iterdir()), key=lambda name: name == last)
    for name in names:
        _update_model(repository / name, built / name, trash / f"{name}.versions")
    for path in sorted(repository.iterdir()):
        if path.name not in names:
            path.rename(trash / f"{path.name}.model")
    sync_directory(repository)


def _update_model(model: Path, built: Path, trash: Path) -> None:
    if not model.exists():
        built.rename(model)
        return
    (version,) = _versions(built)
    folder = model / str(version)
    if folder.exists():
        _update_file(folder / MODEL_FILE, built / str(version) / MODEL_FILE)
    else:
        trash.mkdir()
        for old in sorted(_versions(model))[:-1]:
            (model / str(old)).rename(trash / str(old))
        (built / str(version)).rename(folder)
    _update_file(model / CONFIG_FILE, built / CONFIG_FILE)
    sync_directory(model)


def _update_file(path: Path, built: Path) -> None:
    """Replace a file if its content changed: Triton reloads a model whose files are newer."""
    if path.read_bytes() != (content := built.read_bytes()):
        write_atomically(path, content)


def _versions(model: Path) -> set[int]:
    if not model.is_dir():
        return set()
    return {int(path.name) for path in model.iterdir() if re.fullmatch(r"[1-9]\d*", path.name)}
