"""Whether files hold values of a task: its rows of weights, looked for bit by bit."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmalloc.store.tensors import Memory
from fmalloc_shared.files import check_plain

# A row is recognised by its first numbers; fewer would be found by chance.
_LEAST = 4
_BLOCK = 2**26
Row = NDArray[np.uint32]


@dataclass(frozen=True)
class Traces:
    """Rows of a task's float32 weights as bits, by the first of each."""

    rows: Mapping[int, list[Row]]

    @classmethod
    def of(cls, memories: Iterable[Memory], private: Iterable[NDArray[np.float32]]) -> "Traces":
        """All rows of at least 4 numbers that are not all the same; vectors count as one row."""
        rows: dict[int, list[Row]] = {}
        for matrix in (*(part for memory in memories for part in (memory.fc1_weight, memory.fc2_weight)), *private):
            for values in np.atleast_2d(matrix):
                bits = np.ascontiguousarray(values).view(np.uint32)
                if len(bits) >= _LEAST and (bits != bits[0]).any():
                    rows.setdefault(int(bits[0]), []).append(bits)
        return cls(rows)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(map(len, self.rows.values()))

    def without(self, paths: Iterable[Path]) -> "Traces":
        """Without rows that these files hold: values of the base that learning left as they were are not the task's."""
        known = {row.tobytes() for path in paths for row in self.found_in(path)}
        kept = {first: [row for row in rows if row.tobytes() not in known] for first, rows in self.rows.items()}
        return Traces({first: rows for first, rows in kept.items() if rows})

    def found_in(self, path: Path) -> Iterator[Row]:
        """The rows that lie in a file, at any place that is a multiple of 4 bytes, as safetensors puts tensors."""
        firsts = np.fromiter(self.rows, dtype=np.uint32, count=len(self.rows))
        longest = max((len(row) for rows in self.rows.values() for row in rows), default=0)
        check_plain(path)
        if not path.stat().st_size:
            return
        content = np.memmap(path, dtype=np.uint8, mode="r")
        for shift in _shifts(path, content):
            numbers = content[shift : shift + (len(content) - shift) // 4 * 4].view(np.uint32)
            for start in range(0, len(numbers), _BLOCK):
                block = numbers[start : start + _BLOCK + longest]
                for place in np.flatnonzero(np.isin(block, firsts)).tolist():
                    for row in self.rows[int(block[place])]:
                        if np.array_equal(block[place : place + len(row)], row):
                            yield row


def _shifts(path: Path, content: NDArray[np.uint8]) -> Iterable[int]:
    """Where numbers of 4 bytes may begin, modulo 4: behind the header of safetensors, anywhere in other files."""
    if path.suffix == ".safetensors" and len(content) >= 8:
        return (int(content[:8].view(np.uint64)[0] % 4),)
    return range(4)
