"""The directory of bundles: one writer at a time, bundles that appear whole or not at all, and live.json."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from fmalloc_export.bundles.sharing import link_equal_files
from fmalloc_runtime.bundle.bundle import LIVE_FILE, Bundle, LiveIndex
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sync_directory, sync_tree, write_atomically

# Golden translations hold on a CPU with one thread.
CPU = EngineSettings(device="cpu", intra_threads=1)
_STAGING = ".building-"


@contextmanager
def writing(output_dir: Path) -> Iterator[None]:
    """Hold the lock of `output_dir`, and delete what a killed writer left; FmallocError if another process holds it.

    A dead process holds no lock.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(output_dir / ".lock", blocking=False):
            for left in output_dir.glob(f"{_STAGING}*"):
                shutil.rmtree(left)
            for left in output_dir.glob(f".{LIVE_FILE}.*.partial"):
                left.unlink()
            live_index(output_dir)
            yield
    except filelock.Timeout as error:
        raise FmallocError(f"{output_dir}: another process is writing bundles there; wait for it to end") from error


@contextmanager
def staging(output_dir: Path) -> Iterator[Path]:
    """A hidden folder on the same file system, deleted afterwards in any case."""
    with tempfile.TemporaryDirectory(prefix=_STAGING, dir=output_dir) as directory:
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
            destination.rename(bundle.path.parent / "damaged")
        else:
            return False
    link_equal_files(bundle, output_dir, bundle.path.parent)
    sync_tree(bundle.path)
    bundle.path.rename(destination)
    sync_directory(output_dir)
    return True


def bundle_paths(output_dir: Path) -> list[Path]:
    """The bundles of a directory, by name."""
    return sorted(path for path in output_dir.glob("*@*") if path.is_dir())


def remove(output_dir: Path, names: Iterable[str]) -> None:
    """Delete bundles and shared files, by their paths in `output_dir`; each disappears atomically."""
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


def put_live(output_dir: Path, name: str) -> None:
    """Make the bundle `name` the live one of its domain.

    Raises FmallocError, and leaves live.json, if the bundle is damaged or fails its golden translations.
    """
    Translator.load(Bundle.open(output_dir / name), CPU).replay_golden()
    index = live_index(output_dir).with_bundle(name)
    if index != live_index(output_dir):
        write_atomically(output_dir / LIVE_FILE, index.to_bytes())
