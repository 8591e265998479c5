"""A block of a training text: its rows cleaned, and what is decided by later, on any process."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus.cleaning import CorpusSettings, clean
from fmalloc.corpus.formats.formats import Row, without_markup
from fmalloc.corpus.overlap import checksum
from fmalloc.corpus.pairs import Pair, joined
from fmalloc.corpus.report import Tally

DRAWN_SHARE = 0.05  # at most, for dev and for test


class Block(NamedTuple):
    """Pairs that the settings keep, but for duplicates and overlap, as columns of shape (rows,).

    text, sizes: as `Pairs.text`, and the bytes of each source and each target in turn. changed: whether invisible
    characters were taken out. identities: 16 bytes of each pair. checksums: of the sources, for the overlap. drawable:
    by part, rows whose hash falls below DRAWN_SHARE, and the hashes.
    """

    text: bytes
    sizes: NDArray[np.int64]
    lines: NDArray[np.int64]
    changed: NDArray[np.bool_]
    identities: bytes
    checksums: NDArray[np.uint32]
    drawable: dict[str, tuple[NDArray[Any], NDArray[Any]]]
    tally: Tally

    @classmethod
    def of(cls, path: Path, settings: CorpusSettings, drawn: Sequence[str], rows: Sequence[Row]) -> "Block":
        """Clean rows of a file."""
        tally = Tally()
        found = list(clean(path, without_markup(path, rows, tally), settings, tally))
        pairs = [row.pair for row in found]
        drawable = {}
        for part in drawn:
            hashes = [_hash(part, pair) for pair in pairs]
            low = [row for row, value in enumerate(hashes) if value < threshold(DRAWN_SHARE)]
            drawable[part] = np.array(low, np.int64), np.array([hashes[row] for row in low], np.uint64)
        return cls(
            *joined(pairs),
            np.array([row.line for row in found], np.int64),
            np.array([row.changed for row in found], np.bool_),
            b"".join(map(_identity, pairs)),
            np.array([checksum(pair.source) for pair in pairs], np.uint32),
            drawable,
            tally,
        )


def threshold(share: float) -> int:
    """The hashes below it are so large a share of all."""
    return math.ceil(share * 2**64)


def _identity(pair: Pair) -> bytes:
    """16 bytes that no two different pairs share, but by a chance of 2^-128; 0xFF is in no UTF-8."""
    source, target = pair
    return hashlib.blake2b(source.encode() + b"\xff" + target.encode(), digest_size=16).digest()


def _hash(part: str, pair: Pair) -> int:
    return int.from_bytes(hashlib.sha256(f"{part}\t{pair.source}".encode()).digest()[:8])
