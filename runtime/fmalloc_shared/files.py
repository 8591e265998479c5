"""Digests of files, and files that exist whole or not at all."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from fmalloc_shared.errors import FmallocError


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_files(directory: Path) -> dict[str, str]:
    """Hex SHA-256 of every file below `directory`, by POSIX path relative to it, sorted."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): sha256(path) for path in files}


def verify_files(directory: Path, expected: Mapping[str, str], *, besides: frozenset[str] = frozenset()) -> None:
    """Raise FmallocError unless `directory` holds exactly the `expected` files with these digests.

    `besides` names files that may lie there unlisted (the file that holds the list).
    """
    problems = []
    for name, digest in expected.items():
        path = directory / name
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif (found := sha256(path)) != digest:
            problems.append(f"{path}: sha256 is {found}, expected {digest}")
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name not in expected and name not in besides:
            problems.append(f"{path}: not listed, so not expected here")
    if problems:
        raise FmallocError("\n".join(problems))


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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.parent)
