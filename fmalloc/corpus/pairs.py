"""Sentence pairs in memory or in mapped files, the digest that identifies a sequence of them, and a corpus of them."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from fmalloc.cache.columns import release
from fmalloc.corpus.report import CorpusReport

_Text = TypeVar("_Text")
# Pairs that are read from files together.
BLOCK = 4096
_HASHED = 1 << 24


class Pair(NamedTuple):
    """A source sentence and its translation, neither empty, without surrounding white space."""

    source: str
    target: str


class Pairs(Sequence[Pair]):
    r"""Pairs that lie in arrays, most often those of mapped files.

    text: UTF-8, `source<TAB>target<LF>` of each row; starts: where each source and each target begins, and the end, of
    shape (2 * rows + 1,); rows: which of them these pairs are, in this order; None for all. sha256: `digest` of all
    rows, where it is known.
    """

    def __init__(
        self,
        text: NDArray[np.uint8],
        starts: NDArray[np.int64],
        rows: NDArray[Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        self.text, self.starts, self.rows, self.sha256 = text, starts, rows, sha256

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "Pairs":
        """Pairs that lie elsewhere, copied into memory."""
        text, sizes = joined(pairs)
        return cls(np.frombuffer(text, np.uint8), np.cumsum([0, *sizes.tolist()], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.starts) // 2 if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> "Pairs": ...
    def __getitem__(self, index: int | slice) -> "Pair | Pairs":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        row = range(len(self))[index] if self.rows is None else int(self.rows[index])
        source, target, end = self.starts[2 * row : 2 * row + 3].tolist()
        text = self.text[source:end].tobytes()
        return Pair(text[: target - source - 1].decode(), text[target - source : -1].decode())

    def __iter__(self) -> Iterator[Pair]:
        if self.rows is not None:
            yield from (self[index] for index in range(len(self)))
            return
        for first in range(0, len(self), BLOCK):
            yield from map(Pair, *self.block(first))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(pair == one for pair, one in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def block(self, first: int) -> tuple[list[str], list[str]]:
        """Sources and targets of the BLOCK rows from `first` on, of all that the arrays hold."""
        starts = self.starts[2 * first : 2 * (first + BLOCK) + 1]
        text = self.text[starts[0] : starts[-1]].tobytes()
        places = (starts - starts[0]).tolist()
        release(self.text, self.starts)
        sides = [text[a : b - 1].decode() for a, b in pairwise(places)]
        return sides[::2], sides[1::2]

    def take(self, chosen: NDArray[Any]) -> "Pairs":
        """Some of these pairs, by index; nothing is copied."""
        return Pairs(self.text, self.starts, chosen if self.rows is None else self.rows[chosen])


def blocks(pairs: Sequence[Pair]) -> Iterator[tuple[list[str], list[str]]]:
    """Sources and targets of BLOCK pairs at a time."""
    for first in range(0, len(pairs), BLOCK):
        if isinstance(pairs, Pairs) and pairs.rows is None:
            yield pairs.block(first)
        else:
            part = pairs[first : first + BLOCK]
            yield [pair.source for pair in part], [pair.target for pair in part]


def joined(pairs: Iterable[Pair]) -> tuple[bytes, NDArray[np.int64]]:
    """Text as in Pairs, and the bytes of each source and each target in turn."""
    sides = [side.encode() + end for pair in pairs for side, end in zip(pair, (b"\t", b"\n"), strict=True)]
    return b"".join(sides), np.fromiter(map(len, sides), np.int64, len(sides))


def digest(pairs: Iterable[Pair]) -> str:
    """Hex SHA-256 of the pairs in order."""
    hashed = hashlib.sha256()
    if isinstance(pairs, Pairs) and pairs.rows is None:
        if pairs.sha256:
            return pairs.sha256
        for first in range(0, len(pairs.text), _HASHED):
            hashed.update(pairs.text[first : first + _HASHED].tobytes())
            release(pairs.text)
        return hashed.hexdigest()
    for source, target in pairs:
        hashed.update(f"{source}\t{target}\n".encode())
    return hashed.hexdigest()


@dataclass(frozen=True)
class Corpus:
    """Pairs to learn from (`train`), to select the best state by (`dev`) and to report scores on (`test`).

    checksums: of train's sources, as they are compared with other corpora's test sets, of shape (train pairs,).
    """

    train: Pairs
    dev: tuple[Pair, ...]
    test: tuple[Pair, ...]
    report: CorpusReport = field(default_factory=CorpusReport)
    checksums: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32), compare=False)


def spread(text: Sequence[_Text], count: int) -> tuple[_Text, ...]:
    """Evenly spaced pairs or sentences, at most `count`."""
    count = min(count, len(text))
    return tuple(text[index * len(text) // count] for index in range(count))
