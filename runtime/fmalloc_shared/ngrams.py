"""Hashed n-gram counts of a domain's source text: all that routing needs, no sentence is kept.

Counts are additive: learning, freeing and merging domains add or subtract vectors, exactly.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_plain

VERSION = 2
BUCKETS = 2**18
# Counts from here on do not fit into a byte beside the mark that says so.
_LARGE = 255
# Type and number of axes of each tensor, by version.
_FORMS = {
    "1": {"buckets": "U32 1", "counts": "U32 1", "sentences": "U64 1"},
    "2": {"present": "U8 1", "counts": "U8 1", "large": "U32 1", "sentences": "U64 1"},
}


def _characters(order: int, words: Sequence[str]) -> Iterator[str]:
    text = f" {' '.join(words)} "
    return (text[i : i + order] for i in range(len(text) - order + 1))


def _words(words: Sequence[str]) -> Iterator[str]:
    return (f"\0{word}" for word in words)


def _word_pairs(words: Sequence[str]) -> Iterator[str]:
    return (f"\0{first}\0{second}" for first, second in pairwise(words))


KINDS: Mapping[str, Callable[[Sequence[str]], Iterator[str]]] = {
    "characters 2": partial(_characters, 2),
    "characters 3": partial(_characters, 3),
    "characters 4": partial(_characters, 4),
    "words": _words,
    "word pairs": _word_pairs,
}


def grams(sentence: str, kinds: Iterable[str] = KINDS) -> list[list[str]]:
    """Distinct n-grams of the lower-cased, space-folded sentence in their order, a list for each of `kinds`."""
    words = sentence.lower().split()
    return [list(dict.fromkeys(KINDS[kind](words))) for kind in kinds]


def hashed(grams: Iterable[str]) -> list[int]:
    """The bucket of each n-gram."""
    return [zlib.crc32(gram.encode("utf-8", "surrogatepass")) % BUCKETS for gram in grams]


def buckets(sentence: str) -> NDArray[np.uint32]:
    """Distinct hash buckets, sorted, of the sentence's n-grams of every kind."""
    return np.array(sorted(set(hashed(chain.from_iterable(grams(sentence))))), dtype=np.uint32)


@dataclass(frozen=True)
class NgramCounts:
    """In how many sentences each bucket occurs; `buckets` ascending, `counts` > 0, both uint32 of shape (k,)."""

    sentences: int
    buckets: NDArray[np.uint32]
    counts: NDArray[np.uint32]

    @classmethod
    def of(cls, sentences: Iterable[str]) -> "NgramCounts":
        """Count each bucket once per sentence."""
        dense = np.zeros(BUCKETS, dtype=np.uint32)
        total = 0
        for sentence in sentences:
            dense[buckets(sentence)] += 1
            total += 1
        present = np.flatnonzero(dense).astype(np.uint32)
        return cls(total, present, dense[present])

    def dense(self) -> NDArray[np.float64]:
        """Counts of all buckets, shape (BUCKETS,)."""
        counts = np.zeros(BUCKETS, dtype=np.float64)
        counts[self.buckets] = self.counts
        return counts

    def to_bytes(self) -> bytes:
        """The content of a routing.safetensors file: which buckets occur as a bitmap, counts in a byte where they fit.

        The metadata has one key only: safetensors writes several in an order that differs from run to run.
        """
        present = np.zeros(BUCKETS, dtype=np.bool_)
        present[self.buckets] = True
        tensors = {
            "present": np.packbits(present),
            "counts": np.minimum(self.counts, _LARGE).astype(np.uint8),
            "large": self.counts[self.counts >= _LARGE],
            "sentences": np.array([self.sentences], dtype=np.uint64),
        }
        return bytes(save(tensors, metadata={"version": str(VERSION)}))

    @classmethod
    def read(cls, path: Path) -> "NgramCounts":
        """Read a routing.safetensors file; raise FmallocError if it is not one of this version or the one before."""
        try:
            with safe_open(check_plain(path), framework="numpy") as file:
                version = (file.metadata() or {}).get("version")
                if version not in _FORMS:
                    raise FmallocError(f"{path}: routing version {version!r}, expected '1' or '{VERSION}'")
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                forms = {name: f"{entry.get_dtype()} {len(entry.get_shape())}" for name, entry in slices.items()}
                if forms != _FORMS[version]:
                    raise ValueError(f"its tensors are {forms}, expected {_FORMS[version]}")
                tensors = {name: file.get_tensor(name) for name in forms}
            if len(tensors["sentences"]) != 1:
                raise ValueError(f"sentences are {tensors['sentences'].tolist()}, expected one number")
            counts = _version_1(tensors) if version == "1" else _version_2(tensors)
            counts._check()
            return counts
        except (OSError, SafetensorError, ValueError) as error:
            raise FmallocError(f"{path}: not a routing file: {error}") from error

    def _check(self) -> None:
        """Raise ValueError unless the numbers are what counts can be."""
        if len(self.buckets) != len(self.counts):
            raise ValueError(f"{len(self.buckets)} buckets, but {len(self.counts)} counts")
        if len(self.buckets) and (self.buckets[-1] >= BUCKETS or (self.buckets[1:] <= self.buckets[:-1]).any()):
            raise ValueError(f"buckets are not ascending numbers below {BUCKETS}")
        if len(self.counts) and (self.counts.min() < 1 or self.counts.max() > self.sentences):
            raise ValueError(f"counts are not all from 1 to the number of sentences, {self.sentences}")


def _version_1(tensors: Mapping[str, NDArray[Any]]) -> NgramCounts:
    return NgramCounts(int(tensors["sentences"][0]), tensors["buckets"], tensors["counts"])


def _version_2(tensors: Mapping[str, NDArray[Any]]) -> NgramCounts:
    if len(tensors["present"]) != BUCKETS // 8:
        raise ValueError(f"present has {len(tensors['present'])} bytes, expected {BUCKETS // 8}")
    counts, large = tensors["counts"].astype(np.uint32), tensors["large"]
    if (counts == _LARGE).sum() != len(large) or (large < _LARGE).any():
        raise ValueError(f"large holds {len(large)} counts, expected one of {_LARGE} or more for each byte {_LARGE}")
    counts[counts == _LARGE] = large
    buckets = np.flatnonzero(np.unpackbits(tensors["present"])).astype(np.uint32)
    return NgramCounts(int(tensors["sentences"][0]), buckets, counts)
