"""fmalloc verify: whether a store is whole, and a bundle what it says; with --store, compiled again byte by byte."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fmalloc.report.status import findings
from fmalloc.store.invariants import BrokenStoreError
from fmalloc.store.store import Store
from fmalloc_export.bundles.publish import CPU, bundle_paths
from fmalloc_export.verification.meanings import in_words
from fmalloc_export.verification.repair import delete_unfinished, unfinished
from fmalloc_runtime.bundle.bundle import MANIFEST_FILE, SIGNATURE_FILE, Bundle
from fmalloc_runtime.bundle.signature import TrustedKeys
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.commands.command import echo
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import locked

if TYPE_CHECKING:
    from fmalloc_export.verification.recompile import Check, Recompiler


@dataclass(frozen=True)
class Repair:
    """That unfinished work is to be deleted: after `ask`, which ends what must not go on, or only shown."""

    dry_run: bool
    ask: Callable[[str], object] | None


def verify_all(
    paths: Sequence[Path],
    store: Path | None,
    calibration: Sequence[Path],
    trusted: Sequence[Path],
    repair: Repair | None = None,
) -> None:
    """Check stores, bundles, or directories of bundles, and print the findings; FmallocError if any check fails.

    `store`: the store to compile bundles again from. `calibration`: the texts that they were calibrated with.
    `trusted`: files of public keys, one of which has to have signed each bundle. `repair`: of what is whole, what was
    begun and not finished is deleted.
    """
    if calibration and store is None:
        raise click.UsageError("--calibration goes with --store")
    recompile = None
    if store is not None:
        # Imported here: only this needs PyTorch.
        from fmalloc_export.verification.recompile import Recompiler

        recompile = Recompiler(store, calibration)
    keys = TrustedKeys.read(trusted) if trusted else None
    parts = {path: _parts(path) for path in paths}
    failed, kinds = [], list[str]()
    for path, found in parts.items():
        with _held(path, repair):
            broken = {part: list(_wrong(part, recompile, keys)) for part in found}
            kinds += (kind for wrong in broken.values() for kind in wrong)
            kinds += _unfinished(path, repair, whole=not any(broken.values()))
        failed += [part for part, wrong in broken.items() if wrong]
    if meanings := in_words(kinds):
        echo("what it means:")
        for line in meanings:
            echo(line)
    if failed:
        every = [part for found in parts.values() for part in found]
        of = {"stores" if Store.exists(part) else "bundles" for part in every}
        named = ", ".join(str(part) for part in failed)
        raise FmallocError(f"{len(failed)} of {len(every)} {' and '.join(sorted(of))} failed: {named}")


def _wrong(path: Path, recompile: "Recompiler | None", keys: TrustedKeys | None) -> Iterator[str]:
    """Check a store or bundle, print the findings, and yield the kinds of the first that are bad.

    Later checks read what earlier ones found whole: a model that is a link to an endless file is never loaded.
    """
    echo(f"{path}")
    for name, run in _checks(path, recompile, keys):
        try:
            echo(f"  {name:<12} {run()}")
        except BrokenStoreError as error:
            echo(f"  {name:<12} FAILED: {error}")
            yield from error.kinds
            return
        except FmallocError as error:
            echo(f"  {name:<12} FAILED: {error}")
            yield "record" if name == "store" else name
            return


def _checks(path: Path, recompile: "Recompiler | None", keys: TrustedKeys | None) -> Iterator["Check"]:
    if Store.exists(path):
        yield "store", lambda: "\n  ".join(findings(Store.open(path)))
        return
    bundle = Bundle.read(path)
    yield from _own_checks(bundle)
    if keys:
        yield "signature", lambda: _signature(path, keys)
    elif (path / SIGNATURE_FILE).exists():
        yield "signature", lambda: "there is one; --trusted-keys tells whether it holds"
    if recompile:
        yield from recompile.checks(bundle)


def _signature(path: Path, keys: TrustedKeys) -> str:
    signed = Bundle.read(path, keys).signed
    assert signed
    return f"by {signed.key}: {signed.comment}"


def _held(path: Path, repair: Repair | None) -> AbstractContextManager[None]:
    """The lock of what is going to be repaired, so that nobody else is at work on it."""
    if repair is None or repair.dry_run or not (Store.exists(path) or bundle_paths(path)):
        return nullcontext()
    return locked(path, "another process is writing there; what it does is not unfinished: wait for it to end")


def _unfinished(path: Path, repair: Repair | None, *, whole: bool) -> list[str]:
    """Print what was begun and not finished, and delete it if that is wanted; the kind of finding, if there is any."""
    found = unfinished(path)
    for item in found:
        echo(f"  unfinished   {item}")
    if repair and not whole:
        echo(f"  repair       {path}: nothing is deleted: only what is whole otherwise is repaired")
    elif repair and repair.dry_run:
        echo(f"  repair       {path}: would delete {len(found)} of it")
    elif repair:
        if found and repair.ask:
            repair.ask(f"{path}: delete {len(found)} files and folders of unfinished work?")
        delete_unfinished(path, found)
        echo(f"  repair       {path}: deleted {len(found)} of it")
        return []
    return ["unfinished"] if found else []


def _parts(path: Path) -> list[Path]:
    if Store.exists(path) or (path / MANIFEST_FILE).is_file():
        return [path]
    if not (found := bundle_paths(path)):
        raise FmallocError(f"{path}: neither a memory store nor a bundle nor a directory of bundles")
    return found


def _own_checks(bundle: Bundle) -> Iterator["Check"]:
    def files() -> str:
        bundle.verify()
        form = "packed" if bundle.packed else "plain"
        return f"{len(bundle.manifest.files)} as they were written, {form}"

    def tensors() -> str:
        # Serving machines, which verify too, have no use for the package onnx.
        if find_spec("onnx") is None:
            return "not read: the package onnx is not installed"
        from fmalloc_export.emit.onnx.tensors import check_tensors

        return f"{check_tensors(bundle)} in its graphs, all finite"

    def golden() -> str:
        Translator.load(bundle, CPU).replay_golden()
        return f"{len(bundle.golden())} translations as they were at export"

    yield "files", files
    if bundle.manifest.engine.name == "onnx":
        yield "tensors", tensors
    yield "golden", golden
