"""fmalloc bundles: show the bundles of a directory; pack, unpack and prune them."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Column, Table

from fmalloc_export.bundles.inventory import Entry, Inventory
from fmalloc_export.bundles.publish import bundle_paths, remove, writing
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.bundle.packed import SHARED_DIRECTORY
from fmalloc_shared.commands.command import echo
from fmalloc_shared.commands.terminal import Terminal
from fmalloc_shared.errors import FmallocError


def show(directory: Path, as_json: bool) -> None:
    """Print all bundles with their sizes, and the totals."""
    inventory = Inventory.of(_existing(directory))
    if as_json:
        echo(json.dumps(_record(inventory), indent=2, sort_keys=True))
        return
    numbers = (Column(name, justify="right") for name in ("MB plain", "own", "shared"))
    table = Table(
        Column("bundle", overflow="fold"),
        "live",
        "engine",
        "weights",
        "level",
        *numbers,
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for entry in inventory.entries:
        manifest = entry.bundle.manifest
        table.add_row(
            entry.bundle.name,
            "yes" if entry.live else "–",
            manifest.engine.name,
            manifest.engine.quantization,
            manifest.level,
            *(_megabytes(size) for size in (entry.plain, entry.own, entry.shared)),
        )
    Terminal(markup=False).print(table)
    echo(
        f"{len(inventory.entries)} bundles, {_megabytes(inventory.disk)} MB on disk, {_megabytes(inventory.plain)} MB "
        f"plain: as much as {inventory.ratio:.2f} plain bundles"
    )
    if inventory.unused:
        echo(f"{len(inventory.unused)} shared files are no longer needed: --prune deletes them")


def manage(directory: Path, action: str, names: Sequence[str], *, ask: bool) -> None:
    """Pack, unpack or prune; FmallocError if a name is unknown or a bundle is damaged."""
    with writing(_existing(directory)):
        if action == "prune":
            if names:
                raise click.UsageError("--prune takes no names: live bundles stay, all others go")
            _prune(directory, ask)
            return
        # Imported here: listing does not need it.
        from fmalloc_export.bundles.pack import pack, unpack

        chosen = [Bundle.open(path) for path in _chosen(directory, names)]
        act = pack if action == "pack" else unpack
        act(directory, chosen, lambda file: echo(f"{action} {file}", err=True))


def _prune(directory: Path, ask: bool) -> None:
    inventory = Inventory.of(directory)
    stale = [entry for entry in inventory.entries if not entry.live]
    if inventory.entries and len(stale) == len(inventory.entries):
        raise FmallocError(f"{directory}: no domain is live, so --prune would delete every bundle; nothing was deleted")
    for entry in stale:
        echo(f"{entry.bundle.name}: not live, {_megabytes(entry.own)} MB")
    names = [entry.bundle.name for entry in stale]
    if names and ask:
        click.confirm(f"delete {len(names)} bundles?", abort=True)
    remove(directory, names)
    unused = Inventory.of(directory).unused
    remove(directory, [f"{SHARED_DIRECTORY}/{name}" for name in unused])
    echo(f"deleted {len(names)} bundles and {len(unused)} shared files")


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise FmallocError(f"{directory}: no such directory; expected one with bundles, as fmalloc export writes it")
    return directory


def _chosen(directory: Path, names: Sequence[str]) -> list[Path]:
    """The bundles of these names or domains; all if none is given."""
    paths = bundle_paths(directory)
    for name in names:
        if not any(name in (path.name, path.name.partition("@")[0]) for path in paths):
            known = ", ".join(path.name for path in paths) or "none"
            raise FmallocError(f"{directory}: no bundle or domain {name!r}; it holds {known}")
    return [path for path in paths if not names or {path.name, path.name.partition("@")[0]} & set(names)]


def _record(inventory: Inventory) -> dict[str, object]:
    return {
        "bundles": [_entry(entry) for entry in inventory.entries],
        "disk": inventory.disk,
        "plain": inventory.plain,
        "ratio": round(inventory.ratio, 4),
        "unused": list(inventory.unused),
    }


def _entry(entry: Entry) -> dict[str, object]:
    manifest = entry.bundle.manifest
    return {
        "name": entry.bundle.name,
        "domain": manifest.domain,
        "live": entry.live,
        "packed": entry.packed,
        "engine": manifest.engine.name,
        "quantization": manifest.engine.quantization,
        "level": manifest.level,
        "plain": entry.plain,
        "own": entry.own,
        "shared": entry.shared,
    }


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f}"
