"""Digests of files, and files that exist whole or not at all."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath

from fmalloc_shared.errors import FmallocError

_LOCK = ".lock"
# Of files that are read whole and then parsed: what is parsed takes many times the memory.
_SMALL = 2**24
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def open_plain(path: Path) -> Iterator[BufferedReader]:
    """Open a plain file, or a link to one, for reading; FmallocError if it is anything else or cannot be read.

    A FIFO without a writer does not block.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise FmallocError(f"{path}: is {_KINDS.get(stat.S_IFMT(mode), 'special')}, expected a plain file")
            yield file
    except OSError as error:
        raise FmallocError(f"{path}: cannot be read: {error.strerror or error}") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_small(path: Path, most: int = _SMALL) -> bytes:
    """The content of a plain file of at most `most` bytes; FmallocError if it is not that."""
    with open_plain(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise FmallocError(f"{path}: is larger than {most} bytes, the most that is read of such a file")
    return content


def check_plain(path: Path) -> Path:
    """`path`, for a library that opens it itself; FmallocError as of open_plain."""
    with open_plain(path):
        return path


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_files(directory: Path) -> dict[str, str]:
    """Hex SHA-256 of every file below `directory`, by POSIX path relative to it, sorted."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): sha256(path) for path in files}


def verify_files(directory: Path, expected: Mapping[str, str], *, besides: frozenset[str] = frozenset()) -> None:
    """Raise FmallocError unless `directory` holds exactly the `expected` files with these digests, and no links.

    `besides` names files that may lie there unlisted (the file that holds the list).
    """
    problems = []
    folders = {parent for name in (*expected, *besides) for parent in PurePosixPath(name).parents}
    for name, digest in expected.items():
        path = directory / name
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif (found := sha256(path)) != digest:
            problems.append(f"{path}: sha256 is {found}, expected {digest}")
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            problems.append(f"{path}: is a link, expected the file itself, which nothing outside can change")
        elif name not in expected and name not in besides and not (path.is_dir() and PurePosixPath(name) in folders):
            problems.append(f"{path}: not listed, so not expected here")
        elif name in besides and not path.is_file():
            problems.append(f"{path}: expected a plain file")
    if problems:
        raise FmallocError("\n".join(problems))


# Device and inode of the lock files that this process holds, by folder.
_held: dict[Path, tuple[int, int]] = {}


@contextmanager
def locked(directory: Path, busy: str) -> Iterator[None]:
    """Make `directory` and hold the lock of its one writer, which the operating system frees when the process dies.

    FmallocError, which says that it is `busy`, if another process holds it.
    """
    import filelock  # here, so that help comes at once

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / _LOCK
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise FmallocError(f"{path}: expected a plain file")
    try:
        with filelock.FileLock(path, blocking=False):
            folder = directory.resolve()
            outer, _held[folder] = _held.get(folder), _place(path)
            try:
                yield
            finally:
                if outer is None:
                    del _held[folder]
                else:
                    _held[folder] = outer
    except filelock.Timeout as error:
        raise FmallocError(f"{directory}: {busy}") from error


def check_lock(directory: Path) -> None:
    """Raise FmallocError if the lock that this process holds there was removed: another may have taken it since."""
    held, path = _held.get(directory.resolve()), directory / _LOCK
    if held and (not path.exists() or _place(path) != held):
        raise FmallocError(
            f"{path}: was removed or replaced while this process held it, so that another may be writing too: nothing "
            "was committed; make sure that only one is running, and run it again"
        )


def _place(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def sync_directory(directory: Path) -> None:
    """Make renames inside `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Make every file and folder below `directory` durable."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            sync_directory(path)
    sync_directory(directory)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` whole: a reader sees the old bytes or the new, also after a crash."""
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.parent)


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` atomically by a file that only its owner can ever read, whatever the umask."""
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.parent)
