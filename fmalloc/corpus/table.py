"""The rows of a training text on disk: what of it is kept is decided over digests, and confirmed on the text."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.cache.columns import Column, Draft, release
from fmalloc.corpus.blocks import DRAWN_SHARE, Block, threshold
from fmalloc.corpus.overlap import HeldOutPairs
from fmalloc.corpus.pairs import BLOCK, Pair, Pairs, joined
from fmalloc.corpus.report import Place, Tally

_DRAWN_PAIRS = 1000
# Duplicates are looked for in one part of all digests after another, to sort few at a time.
_PARTITIONS = 16


class Text:
    """Columns of pairs that grow: `text` and `starts` as Pairs reads them."""

    def __init__(self, text: Column, starts: Column) -> None:
        self._text, self._starts = text, starts
        starts.append([0])

    @classmethod
    def of(cls, draft: Draft, part: str) -> "Text":
        """Columns of an entry for a part of a corpus."""
        return cls(draft.column(f"{part}.text", "uint8"), draft.column(f"{part}.starts", "int64"))

    def append(self, pairs: Iterable[Pair]) -> None:
        """Add pairs, few enough for memory."""
        self.append_rows(*joined(pairs))

    def append_rows(self, text: bytes, sizes: NDArray[Any]) -> None:
        """Add the bytes of whole rows; sizes: of each source and each target in turn."""
        self._starts.append(self._text.bytes + np.cumsum(sizes, dtype=np.int64))
        self._text.append_bytes(text)

    def pairs(self) -> Pairs:
        """All pairs."""
        return Pairs(self._text.array(), self._starts.array())


class Table:
    """Cleaned rows, and which of them are `kept`: bool of shape (rows,)."""

    def __init__(
        self,
        path: Path,
        blocks: Iterable[Block],
        draft: Draft,
        tally: Tally,
        drawn: Sequence[str],
        advance: Callable[[int], None] | None = None,
    ) -> None:
        """Take in the rows of a file; `drawn`: parts for which rows may be drawn later."""
        text = Text(draft.scratch("uint8"), draft.scratch("int64"))
        lines, changed, checksums = draft.scratch("int64"), draft.scratch("uint8"), draft.scratch("uint32")
        identities = draft.scratch("uint64")
        drawable = {part: (draft.scratch("int64"), draft.scratch("uint64")) for part in drawn}
        rows = 0
        for block in blocks:
            text.append_rows(block.text, block.sizes)
            lines.append(block.lines)
            changed.append(block.changed)
            checksums.append(block.checksums)
            identities.append_bytes(block.identities)
            for part, (numbers, hashes) in drawable.items():
                numbers.append(rows + block.drawable[part][0])
                hashes.append(block.drawable[part][1])
            tally.add(block.tally)
            rows += len(block.lines)
            if advance:
                advance(len(block.lines))
        self.path, self.pairs, self.kept = path, text.pairs(), np.ones(rows, np.bool_)
        self._lines, self._changed = lines.array(), changed.array()
        self._identities, self._checksums = identities.array().reshape(-1, 2), checksums.array()
        self._drawable = {part: tuple(column.array() for column in found) for part, found in drawable.items()}

    def drop_duplicates(self, tally: Tally) -> None:
        """Keep only the first of identical pairs."""
        dropped, first = 0, len(self.kept)
        partition = np.empty(len(self.kept), np.uint8)
        for start in range(0, len(partition), BLOCK):
            partition[start : start + BLOCK] = self._identities[start : start + BLOCK, 0] % _PARTITIONS
            release(self._identities)
        for number in range(_PARTITIONS):
            rows = np.flatnonzero(partition == number)
            of_rows = np.empty((len(rows), 2), np.uint64)
            for start in range(0, len(rows), BLOCK):
                of_rows[start : start + BLOCK] = self._identities[rows[start : start + BLOCK]]
                release(self._identities)
            order = np.lexsort((of_rows[:, 1], of_rows[:, 0]))  # stable: the first of equal ones stays the first
            again = (of_rows[order[1:]] == of_rows[order[:-1]]).all(1)
            if again.any():
                duplicates = rows[order[1:][again]]
                self.kept[duplicates] = False
                dropped, first = dropped + len(duplicates), min(first, int(duplicates.min()))
        if dropped:
            tally.drop("duplicate", self._place(first), dropped)

    def count_changed(self, tally: Tally) -> None:
        """Report from which of the kept pairs invisible characters were taken out."""
        if len(rows := np.flatnonzero((self._changed != 0) & self.kept)):
            tally.clean("invisible characters taken out", self._place(int(rows[0])), len(rows))

    def drop_held_out(self, held_out: HeldOutPairs, tally: Tally, *, drop: bool) -> None:
        """Keep no pair of dev or test; with `drop` off, all are kept and a warning is given instead."""
        rows = held_out.candidates(self._checksums)
        matches = {row: held_out.match(self.pairs[row]) for row in rows[self.kept[rows]].tolist()}
        same = [row for row, match in matches.items() if match == "pair"]
        if sources := sum(match == "source" for match in matches.values()):
            tally.warnings.append(
                f"training pairs whose source is in dev or test with another translation: {sources:,} (kept)"
            )
        if same and not drop:
            tally.warnings.append(f"training pairs that dev or test also hold, which inflates scores: {len(same):,}")
        elif same:
            self.kept[same] = False
            tally.drop("in dev or test", pairs=len(same))

    def draw(self, part: str) -> list[Pair]:
        """Split off the pairs whose hash falls into the part's share."""
        if not (kept := int(self.kept.sum())):
            return []
        rows, hashes = self._drawable[part]
        rows = rows[hashes < np.uint64(threshold(min(DRAWN_SHARE, _DRAWN_PAIRS / kept)))]
        rows = rows[self.kept[rows]]
        self.kept[rows] = False
        return [self.pairs[row] for row in rows.tolist()]

    def write(self, text: Text, checksums: Column) -> None:
        """Add the kept rows to the columns of an entry."""
        for first in range(0, len(self.kept), BLOCK):
            kept = self.kept[first : first + BLOCK]
            starts = self.pairs.starts[2 * first : 2 * (first + len(kept)) + 1]
            data = self.pairs.text[starts[0] : starts[-1]].tobytes()
            if not kept.all():
                places = (starts - starts[0]).tolist()
                data = b"".join(data[places[2 * a] : places[2 * b]] for a, b in _runs(kept))
            text.append_rows(data, np.diff(starts).reshape(-1, 2)[kept].ravel())
            checksums.append(self._checksums[first : first + BLOCK][kept])
            release(self.pairs.text, self.pairs.starts, self._checksums)

    def _place(self, row: int) -> Place:
        return Place(self.path, int(self._lines[row]))


def _runs(kept: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Begin and end of each run of rows that are kept."""
    edges: NDArray[Any] = np.flatnonzero(np.diff(kept, prepend=False, append=False))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
