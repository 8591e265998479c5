"""Groups of about equally long examples under a token budget, in arrays: also ten million are no lists."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

# Batches whose examples are sorted by length together.
_POOL = 64


class Groups(Sequence["NDArray[np.int64]"]):
    """Groups of indices, without a list of lists: `order` holds all indices, `ends` where each group ends in it.

    `which`: the groups in the order in which they are read.
    """

    def __init__(self, order: NDArray[Any], ends: NDArray[np.int64], which: NDArray[np.int64]) -> None:
        self._order, self._ends, self._which = order, ends, which

    @classmethod
    def of(cls, lengths: NDArray[Any], batch_tokens: int, *, seed: int | None = None) -> "Groups":
        """Groups as of `batch_indices`."""
        small = np.int32 if len(lengths) < 2**31 else np.int64
        if seed is None:
            order = np.argsort(lengths, kind="stable").astype(small)
            ends = np.fromiter(_ends(lengths[order], batch_tokens), np.int64)
            return cls(order, ends, np.arange(len(ends)))
        random = np.random.default_rng(seed)
        order = random.permutation(len(lengths)).astype(small)
        pool = max(1, _POOL * batch_tokens // max(1, int(np.mean(lengths)))) if len(lengths) else 1
        found = [np.empty(0, np.int64)]
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            part[:] = part[np.argsort(lengths[part], kind="stable")]
            found.append(start + np.fromiter(_ends(lengths[part], batch_tokens), np.int64))
        ends = np.concatenate(found)
        return cls(order, ends, random.permutation(len(ends)))

    def among(self, rows: NDArray[Any]) -> "Groups":
        """The same groups, of rows of a larger whole."""
        return Groups(rows[self._order], self._ends, self._which)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> "NDArray[np.int64]": ...
    @overload
    def __getitem__(self, index: slice) -> "Groups": ...
    def __getitem__(self, index: "int | slice") -> "NDArray[np.int64] | Groups":
        if isinstance(index, slice):
            return Groups(self._order, self._ends, self._which[index])
        group = self._which[index]
        return self._order[self._ends[group - 1] if group else 0 : self._ends[group]]


def _ends(lengths: NDArray[Any], batch_tokens: int) -> Iterator[int]:
    """Where each group ends, of lengths in ascending order."""
    start = 0
    while start < len(lengths):
        most = batch_tokens // int(lengths[start]) + 1 if lengths[start] else len(lengths)
        padded = lengths[start : start + most].astype(np.int64) * np.arange(1, min(most, len(lengths) - start) + 1)
        start += max(1, int(np.searchsorted(padded, batch_tokens, side="right")))
        yield start
