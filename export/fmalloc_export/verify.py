"""fmalloc verify: check what a bundle states about itself; with a store, compile it again and compare every byte."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fmalloc_export.bundles.publish import CPU, bundle_paths
from fmalloc_runtime.bundle.bundle import MANIFEST_FILE, Bundle
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.errors import FmallocError

if TYPE_CHECKING:
    from fmalloc_export.recompile import Check


def verify_all(paths: Sequence[Path], store: Path | None, calibration: Sequence[Path]) -> None:
    """Check bundles, or directories of them, and print the findings; FmallocError if any check fails.

    `store`: the store to compile them again from. `calibration`: the texts that they were calibrated with.
    """
    if calibration and store is None:
        raise click.UsageError("--calibration goes with --store")
    recompile = None
    if store is not None:
        # Imported here: only this needs PyTorch.
        from fmalloc_export.recompile import Recompiler

        recompile = Recompiler(store, calibration)
    failed = []
    found = [bundle for path in paths for bundle in _bundles(path)]
    for path in found:
        click.echo(f"{path}")
        bundle = Bundle.read(path)
        checks = [*_own_checks(bundle), *(recompile.checks(bundle) if recompile else ())]
        if not all(_passes(check) for check in checks):
            failed.append(path)
    if failed:
        raise FmallocError(f"{len(failed)} of {len(found)} bundles failed: {', '.join(str(path) for path in failed)}")


def _bundles(path: Path) -> list[Path]:
    if (path / MANIFEST_FILE).is_file():
        return [path]
    if not (found := bundle_paths(path)):
        raise FmallocError(f"{path}: neither a bundle nor a directory of bundles")
    return found


def _own_checks(bundle: Bundle) -> Iterator["Check"]:
    def files() -> str:
        bundle.verify()
        form = "packed" if bundle.packed else "plain"
        return f"{len(bundle.manifest.files)} as they were written, {form}"

    def golden() -> str:
        Translator.load(bundle, CPU).replay_golden()
        return f"{len(bundle.golden())} translations as they were at export"

    yield "files", files
    yield "golden", golden


def _passes(check: "Check") -> bool:
    name, run = check
    try:
        click.echo(f"  {name:<12} {run()}")
    except FmallocError as error:
        click.echo(f"  {name:<12} FAILED: {error}")
        return False
    return True
