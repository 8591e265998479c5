"""The disk that the bundles of a directory take, and how much of it they share."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fmalloc_export.bundles.publish import bundle_paths, live_index
from fmalloc_runtime.bundle.bundle import MANIFEST_FILE, SIGNATURE_FILE, Bundle
from fmalloc_runtime.bundle.packed import SHARED_DIRECTORY

# Identifies a file whatever its hard links are called: device and inode.
_Place = tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """Bytes of a bundle: all its files unpacked (`plain`), on disk for it alone (`own`), and shared with others."""

    bundle: Bundle
    live: bool
    packed: bool
    plain: int
    own: int
    shared: int


@dataclass(frozen=True)
class Inventory:
    """All bundles of a directory; `disk`: bytes of their files and the shared ones, each counted once.

    `unused`: names of shared files that no packed bundle needs.
    """

    entries: tuple[Entry, ...]
    disk: int
    unused: tuple[str, ...]

    @property
    def plain(self) -> int:
        """Bytes that all bundles would take unpacked and without shared files."""
        return sum(entry.plain for entry in self.entries)

    @property
    def ratio(self) -> float:
        """Disk use, as a number of plain bundles of average size."""
        return self.disk * len(self.entries) / self.plain if self.plain else 0.0

    @classmethod
    def of(cls, output_dir: Path) -> "Inventory":
        """Read names, manifests and the headers of deltas, but no content; FmallocError if one is malformed."""
        live = set(live_index(output_dir).domains.values())
        bundles = [Bundle.read(path) for path in bundle_paths(output_dir)]
        held = [_places(bundle) for bundle in bundles]
        holders = Counter(place for places in held for place in places)
        folder = output_dir / SHARED_DIRECTORY
        everything = {place: size for places in held for place, size in places.items()}
        everything.update(_place(path) for path in folder.glob("*"))
        needed = {path for bundle in bundles for path in _references(bundle)}
        # Files of the shared folder count as shared even if only one bundle refers to them.
        common = {_place(path)[0] for path in needed if path.is_file()}
        return cls(
            entries=tuple(
                Entry(
                    bundle=bundle,
                    live=bundle.name in live,
                    packed=bool(bundle.packed),
                    plain=_plain(bundle),
                    own=sum(size for place, size in places.items() if holders[place] == 1 and place not in common),
                    shared=sum(size for place, size in places.items() if holders[place] > 1 or place in common),
                )
                for bundle, places in zip(bundles, held, strict=True)
            ),
            disk=sum(everything.values()),
            unused=tuple(sorted(path.name for path in folder.glob("*") if path not in needed)),
        )


def _references(bundle: Bundle) -> Iterator[Path]:
    return (bundle.packed_file(name).reference for name in bundle.packed)


def _places(bundle: Bundle) -> Mapping[_Place, int]:
    """Every file of the bundle, references included, with its size."""
    files = [*bundle.path.rglob("*"), *_references(bundle)]
    return dict(_place(path) for path in files if path.is_file())


def _place(path: Path) -> tuple[_Place, int]:
    status = path.stat()
    return (status.st_dev, status.st_ino), status.st_size


def _plain(bundle: Bundle) -> int:
    packed, names = bundle.packed, (MANIFEST_FILE, SIGNATURE_FILE, *bundle.manifest.files)
    plain = (path.stat().st_size for name in names if (path := bundle.path / name).is_file())
    return sum(plain) + sum(bundle.packed_file(name).delta.size for name in packed)
