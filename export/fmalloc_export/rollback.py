"""What `fmalloc rollback` does: another version of a domain becomes current and, with a bundle of it, live."""

from pathlib import Path

from fmalloc.lifecycle.versions import roll_back
from fmalloc.store.chain.versions import domain_of, number_of
from fmalloc.store.store import Store
from fmalloc_export.bundles.publish import bundle_paths, put_live, writing
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_shared.commands.command import echo
from fmalloc_shared.errors import FmallocError


def rollback(store: Path, domain: str, number: int | None, bundles: Path | None, *, dry_run: bool) -> None:
    """Make a version current: of this number, or the one before; with `bundles`, the newest bundle of it goes live.

    Raises FmallocError, and changes nothing, if the version or a bundle of it is not there.
    """
    task = roll_back(store, domain, number, dry_run=True)
    bundle = _bundle_of(Store.open(store), task, bundles) if bundles else None
    if dry_run:
        echo(f"{domain}: version {number_of(task)} would be current")
    else:
        roll_back(store, domain, number)
    if bundles and bundle:
        if not dry_run:
            with writing(bundles):
                put_live(bundles, bundle)
        echo(f"{bundles}: {bundle} {'would be' if dry_run else 'is'} live")


def _bundle_of(store: Store, task: str, bundles: Path) -> str:
    """Name of the bundle that was written last of those that were compiled from a task."""
    record = store.digest(task)[1]
    found = [path for path in bundle_paths(bundles) if Bundle.read(path).manifest.source.task == record]
    if not found:
        raise FmallocError(
            f"{bundles}: no bundle was compiled from {task}; roll back without --bundles, then "
            f"`fmalloc export --store {store.path} --task {domain_of(task)} --output-dir {bundles}`"
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns).name
