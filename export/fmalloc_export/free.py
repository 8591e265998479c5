"""What `fmalloc free` does with bundles: those of a freed task go, others that were stored as differences from it too.

A bundle is of a task if its manifest names the task's record, whatever it is called and whether or not it is live.
"""

from collections.abc import Sequence
from pathlib import Path

from fmalloc.lifecycle.free import Bundles
from fmalloc_export.bundles.pack import pack, unpack
from fmalloc_export.bundles.publish import bundle_paths, live_index, remove, writing
from fmalloc_runtime.bundle.bundle import LIVE_FILE, Bundle, LiveIndex
from fmalloc_runtime.bundle.packed import SHARED_DIRECTORY
from fmalloc_runtime.routing.costs import PARTIAL_FILE, ROUTING_COSTS_FILE
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_lock, write_atomically


def bundles_in(directory: Path) -> Bundles:
    """The bundles of a directory; FmallocError if there is none."""
    if not directory.is_dir():
        raise FmallocError(f"{directory}: no such directory; expected one with bundles, as fmalloc export writes it")
    return Bundles(
        named=lambda records: [path.name for path in _of(directory, records)],
        withdraw=lambda records: _withdraw(directory, records),
    )


def _of(directory: Path, records: frozenset[str]) -> list[Path]:
    return [path for path in bundle_paths(directory) if Bundle.read(path).manifest.source.task in records]


def _withdraw(directory: Path, records: frozenset[str]) -> Sequence[str]:
    with writing(directory):
        names = {path.name for path in _of(directory, records)}
        if not names:
            return [f"{directory}: no bundle of it"]
        said = [f"{directory}: deleted {', '.join(sorted(names))}"]
        index = live_index(directory)
        served = {domain: name for domain, name in index.domains.items() if name not in names}
        if served != index.domains:
            check_lock(directory)
            write_atomically(directory / LIVE_FILE, LiveIndex(domains=served).to_bytes())
            if not served:
                said.append(f"{directory}: no domain is live now; a server that runs keeps what it has: stop it")
        for file in (ROUTING_COSTS_FILE, PARTIAL_FILE):
            # Both hold figures of its text.
            if (directory / file).exists():
                (directory / file).unlink()
                said.append(f"{directory}: deleted {file}; measure it again with `fmalloc routing costs`")
        # What others are stored as differences from may hold its cells. Its own bundles go last: until then, the same
        # command finds what is left to do.
        others = [path for path in bundle_paths(directory) if path.name not in names]
        packed = [Bundle.open(path) for path in others if Bundle.read(path).packed]
        unpack(directory, packed)
        remove(directory, [f"{SHARED_DIRECTORY}/{path.name}" for path in (directory / SHARED_DIRECTORY).glob("*")])
        remove(directory, sorted(names))
        if packed:
            pack(directory, [Bundle.open(bundle.path) for bundle in packed])
        return said
