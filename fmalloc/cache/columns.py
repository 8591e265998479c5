"""Arrays that grow while text is read: in memory as long as they are small, in files beyond."""

import hashlib
import mmap
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

# An array without a file of its own is moved from memory to an unnamed one when it is larger.
_IN_MEMORY = 1 << 25


@dataclass(frozen=True)
class Entry:
    """Read-only arrays of one dimension by name, their hex SHA-256, and what else is to be known of them, JSON-able."""

    arrays: Mapping[str, NDArray[Any]]
    digests: Mapping[str, str]
    note: Mapping[str, Any]


class Column:
    """An array that grows, in a file or, while it is small and has none, in memory.

    hashed: whether its digest is wanted; folder: of the unnamed file that it is moved to.
    """

    def __init__(
        self, dtype: str, file: BinaryIO | None = None, *, hashed: bool = False, folder: Path | None = None
    ) -> None:
        self.dtype, self.bytes = np.dtype(dtype).newbyteorder("<"), 0
        self._file, self._folder = file, folder
        self._hash = hashlib.sha256() if hashed else None
        self._pieces: list[bytes] = []

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of all bytes so far."""
        if self._hash is None:
            raise ValueError("a column whose digest was not asked for")
        return self._hash.hexdigest()

    def append(self, values: ArrayLike) -> None:
        """Add values, of one dimension."""
        self.append_bytes(np.ascontiguousarray(values, dtype=self.dtype).tobytes())

    def append_bytes(self, data: bytes) -> None:
        """Add values as they lie in memory."""
        if self._hash is not None:
            self._hash.update(data)
        self.bytes += len(data)
        if self._file is None:
            self._pieces.append(data)
            if self.bytes <= _IN_MEMORY:
                return
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (it lives as long as the array)
            data, self._pieces = b"".join(self._pieces), []
        self._file.write(data)

    def array(self) -> NDArray[Any]:
        """All values, read-only."""
        if self._file is None:
            return np.frombuffer(b"".join(self._pieces), self.dtype)
        self._file.flush()
        return mapped(self._file, self.dtype)

    def close(self) -> None:
        """Add no more; arrays stay."""
        if self._file is not None:
            self._file.close()


class Draft(AbstractContextManager["Draft"]):
    """The columns of an entry that is being made: files in `folder`, or, without one, files that have no name.

    What was mapped of them stays when the context ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.columns: dict[str, Column] = {}
        self._all: list[Column] = []

    def __exit__(self, *_error: object) -> None:
        for column in self._all:
            column.close()

    def column(self, name: str, dtype: str) -> Column:
        """A new column."""
        file = None if self._folder is None else (self._folder / name).open("w+b")
        self.columns[name] = Column(dtype, file, hashed=True)
        self._all.append(self.columns[name])
        return self.columns[name]

    def scratch(self, dtype: str) -> Column:
        """A column that is needed while the entry is made, and is no part of it."""
        column = Column(dtype, folder=self._folder)
        self._all.append(column)
        return column

    def entry(self, note: Mapping[str, Any]) -> Entry:
        """What was made."""
        arrays = {name: column.array() for name, column in self.columns.items()}
        return Entry(arrays, {name: column.sha256 for name, column in self.columns.items()}, note)


def mapped(file: BinaryIO, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The content of a file as a read-only array."""
    if os.fstat(file.fileno()).st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(file, dtype, mode="r")


def release(*arrays: NDArray[Any]) -> None:
    """Let the pages of mapped arrays that were read leave this process; they stay in the system's cache."""
    for array in arrays:
        file = getattr(array, "_mmap", None)
        if file is not None and hasattr(mmap, "MADV_DONTNEED"):
            file.madvise(mmap.MADV_DONTNEED)
