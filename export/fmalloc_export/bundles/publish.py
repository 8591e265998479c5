"""The directory of bundles: one writer at a time, bundles that appear whole or not at all, and live.json."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fmalloc_export.bundles.sharing import link_equal_files
from fmalloc_runtime.bundle.bundle import LIVE_FILE, MANIFEST_FILE, SIGNATURE_FILE, Bundle, LiveIndex
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_lock, locked, sha256, sync_directory, sync_tree, write_atomically

# Golden translations hold on a CPU with one thread.
CPU = EngineSettings(device="cpu", intra_threads=1)
STAGING = ".building-"


@contextmanager
def writing(output_dir: Path) -> Iterator[None]:
    """Hold the lock of `output_dir`, and delete what a killed writer left; FmallocError if another process holds it.

    A dead process holds no lock.
    """
    with locked(output_dir, "another process is writing bundles there; wait for it to end"):
        for left in output_dir.glob(f"{STAGING}*"):
            shutil.rmtree(left)
        for left in output_dir.glob(f".{LIVE_FILE}.*.partial"):
            left.unlink()
        live_index(output_dir)
        yield


@contextmanager
def staging(output_dir: Path) -> Iterator[Path]:
    """A hidden folder on the same file system, deleted afterwards in any case.

    FmallocError if the lock that this process holds there was removed.
    """
    check_lock(output_dir)
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=output_dir) as directory:
        yield Path(directory)


def publish(bundle: Bundle, output_dir: Path, *, force: bool) -> bool:
    """Move a verified bundle into place atomically; return False if the same one is there already.

    Files that equal those of other bundles become hard links to them.
    Raises FmallocError if the bundle there is damaged, unless `force` replaces it.
    """
    destination = output_dir / bundle.name
    if destination.exists():
        try:
            Bundle.open(destination)
        except FmallocError as error:
            if not force:
                raise FmallocError(f"{error}\n{destination} is damaged; --force writes it again") from error
            damaged = destination.rename(bundle.path.parent / "damaged")
            _keep_signature(damaged, bundle.path)
        else:
            return False
    link_equal_files(bundle, output_dir, bundle.path.parent)
    sync_tree(bundle.path)
    check_lock(output_dir)
    bundle.path.rename(destination)
    sync_directory(output_dir)
    return True


def _keep_signature(damaged: Path, bundle: Path) -> None:
    """Who signed a bundle that is written again signed this one: both have the same manifest."""
    signature, manifest = damaged / SIGNATURE_FILE, damaged / MANIFEST_FILE
    plain = all(path.is_file() and not path.is_symlink() for path in (signature, manifest))
    if plain and sha256(manifest) == sha256(bundle / MANIFEST_FILE):
        shutil.copyfile(signature, bundle / SIGNATURE_FILE)


def bundle_paths(output_dir: Path) -> list[Path]:
    """The bundles of a directory, by name."""
    return sorted(path for path in output_dir.glob("*@*") if path.is_dir())


def remove(output_dir: Path, names: Iterable[str]) -> None:
    """Delete bundles and shared files, by their paths in `output_dir`; each disappears atomically."""
    check_lock(output_dir)
    for name in names:
        path = output_dir / name
        if path.is_dir():
            with staging(output_dir) as work:
                path.rename(work / "removed")
        else:
            path.unlink()
    sync_directory(output_dir)


def live_index(output_dir: Path) -> LiveIndex:
    """The content of live.json, empty if there is none yet; FmallocError if it is malformed."""
    if not (output_dir / LIVE_FILE).exists():
        return LiveIndex(domains={})
    return LiveIndex.of(output_dir)


def put_live(output_dir: Path, name: str, *, replayed: bool = False) -> None:
    """Make the bundle `name` the live one of its domain; `replayed`: its golden translations were just found to hold.

    Raises FmallocError, and leaves live.json, if the bundle is damaged or fails its golden translations.
    """
    bundle = Bundle.open(output_dir / name)
    if not replayed:
        Translator.load(bundle, CPU).replay_golden()
    index = live_index(output_dir).with_bundle(name)
    if index != live_index(output_dir):
        check_lock(output_dir)
        write_atomically(output_dir / LIVE_FILE, index.to_bytes())
