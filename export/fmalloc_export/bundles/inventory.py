"""How much disk the bundles of a directory take, and how much of it each shares with others."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fmalloc_export.bundles.publish import bundle_paths, live_index
from fmalloc_runtime.bundle.bundle import MANIFEST_FILE, Bundle
from fmalloc_runtime.bundle.packed import SHARED_DIRECTORY

# A file however many names it has: device and inode.
_Place = tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """A bundle in bytes: all its files plain, what only it holds on disk, and what others hold too."""

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
        """Bytes of all bundles if each were a plain directory of its own."""
        return sum(entry.plain for entry in self.entries)

    @property
    def ratio(self) -> float:
        """Disk in plain bundles of average size."""
        return self.disk * len(self.entries) / self.plain if self.plain else 0.0

    @classmethod
    def of(cls, output_dir: Path) -> "Inventory":
        """Read names, manifests and headers of deltas, but no content; FmallocError if one of them is malformed."""
        live = set(live_index(output_dir).domains.values())
        bundles = [Bundle.read(path) for path in bundle_paths(output_dir)]
        held = [_places(bundle) for bundle in bundles]
        holders = Counter(place for places in held for place in places)
        folder = output_dir / SHARED_DIRECTORY
        everything = {place: size for places in held for place, size in places.items()}
        everything.update(_place(path) for path in folder.glob("*"))
        needed = {path for bundle in bundles for path in _references(bundle)}
        # What only one bundle refers to in the folder is there for all of them.
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
    """Every file that the bundle is made of, with its size."""
    files = [*bundle.path.rglob("*"), *_references(bundle)]
    return dict(_place(path) for path in files if path.is_file())


def _place(path: Path) -> tuple[_Place, int]:
    status = path.stat()
    return (status.st_dev, status.st_ino), status.st_size


def _plain(bundle: Bundle) -> int:
    packed = bundle.packed
    plain = (path.stat().st_size for name in bundle.manifest.files if (path := bundle.path / name).is_file())
    manifest = (bundle.path / MANIFEST_FILE).stat().st_size
    return manifest + sum(plain) + sum(bundle.packed_file(name).delta.size for name in packed)
