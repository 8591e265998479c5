"""Pairs as token ids, and batches of about equally long pairs under a token budget."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmalloc.cache.cache import NOTHING_KEPT, WORTH_KEEPING, Cache
from fmalloc.cache.columns import Draft, release
from fmalloc.corpus import Pair, digest
from fmalloc.corpus.pairs import Pairs
from fmalloc.model.text.groups import Groups
from fmalloc.model.text.pieces import Side, identity, ids_of
from fmalloc.model.text.tokens import set_languages
from fmalloc_shared.commands.progress import bar
from fmalloc_shared.languages import LanguagePair

IGNORED = -100
# Of what a cache holds of encoded text: raise it with every change to the ids.
_FORMAT = 1
_SIDES = ("source", "target")
_MANY = 1000  # pairs
# Examples that are read before the pages of their file are let go.
_READ_TOGETHER = 1 << 12
# On an accelerator lengths are multiples of this: few shapes, whose kernels and memory are used again, and masks that
# its attention reads as they are.
_LENGTHS = 8


class Example(NamedTuple):
    """Token ids of a pair, end-of-sentence included."""

    source: list[int]
    target: list[int]

    @property
    def length(self) -> int:
        """Tokens of the longer side: what a padded batch pays for."""
        return max(len(self.source), len(self.target))


@dataclass(frozen=True)
class Batch:
    """source, source_mask: (batch, source length); target: (batch, target length), padded with IGNORED.

    places: indices of the positions that have a target token, row by row; None: they are looked for when they are
    needed, which waits for a device.
    """

    source: Tensor
    source_mask: Tensor
    target: Tensor
    places: Tensor | None = None

    @cached_property
    def kept(self) -> Tensor:
        """The `places`, (target tokens,)."""
        return (self.target != IGNORED).flatten().nonzero().flatten() if self.places is None else self.places

    @property
    def target_tokens(self) -> int:
        """Non-padding target positions."""
        return len(self.kept)

    def of_tokens(self, values: Tensor) -> Tensor:
        """Of values (batch, target length, ...) those of target tokens, (target tokens, ...); waits for no device."""
        return values.flatten(0, 1).index_select(0, self.kept)

    def rows(self, which: slice) -> "Batch":
        """Some of the rows."""
        return Batch(self.source[which], self.source_mask[which], self.target[which])

    def ready(self, device: torch.device, config: Any) -> "Batch":
        """What `to` copies: for an accelerator of rounded lengths, as far as a model has positions, and pinned."""
        if device.type == "cpu":
            return self
        longest = getattr(config, "max_position_embeddings", 0)
        widened = Batch(
            _widened(self.source, getattr(config, "pad_token_id", 0), longest),
            _widened(self.source_mask, 0, longest),
            _widened(self.target, IGNORED, longest),
        )
        parts = (widened.source, widened.source_mask, widened.target, widened.kept)
        return Batch(*(part.pin_memory() for part in parts)) if device.type == "cuda" else Batch(*parts)

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device, as `ready` made it: the copy to CUDA does not hold up the program."""
        parts = (self.source, self.source_mask, self.target, self.kept)
        return Batch(*(part.to(device, non_blocking=True) for part in parts))

    def on(self, device: torch.device, config: Any) -> "Batch":
        """Made ready for a model of this configuration, and on its device."""
        return self.ready(device, config).to(device)


class Examples(Sequence[Example]):
    """Examples that lie in arrays, those of mapped files where they are many.

    sides: ids and starts of the sources, and of the targets; starts: where each row begins, and the end, of shape
    (rows + 1,). rows: which of them these examples are, in this order; lengths: of each, as `Example.length`.
    """

    def __init__(
        self,
        sides: Sequence[tuple[NDArray[np.int32], NDArray[np.int64]]],
        rows: NDArray[np.int32],
        lengths: NDArray[np.int32],
    ) -> None:
        self._files, self.rows, self.lengths, self._read = sides, rows, lengths, 0
        self._sides = [(np.asarray(ids), np.asarray(starts)) for ids, starts in sides]

    @classmethod
    def of(cls, sides: Sequence[tuple[NDArray[np.int32], NDArray[np.int64]]], maximum_length: int) -> "Examples":
        """Those in the arrays that fit."""
        lengths = np.empty(len(sides[0][1]) - 1, np.int32)
        for first in range(0, len(lengths), _READ_TOGETHER):
            part = slice(first, first + _READ_TOGETHER + 1)
            lengths[first : first + _READ_TOGETHER] = np.maximum(*(np.diff(starts[part]) for _, starts in sides))
            release(*(starts for _, starts in sides))
        rows = np.flatnonzero(lengths <= maximum_length).astype(np.int32)
        return cls(sides, rows, lengths[rows])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "Examples": ...
    def __getitem__(self, index: int | slice) -> "Example | Examples":
        if isinstance(index, slice):
            return Examples(self._files, self.rows[index], self.lengths[index])
        row = self.rows[index]
        self._read += 1
        if self._read % _READ_TOGETHER == 0:
            self._release()
        return Example(*(ids[slice(*starts[row : row + 2])].tolist() for ids, starts in self._sides))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == one for mine, one in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def _release(self) -> None:
        release(*(array for side in self._files for array in side))


class Encoded(NamedTuple):
    """Examples that fit, and how many pairs were too long."""

    examples: Examples
    too_long: int

    def described(self, maximum_length: int) -> str:
        """What was encoded, and what was left out as longer than `maximum_length` tokens."""
        if not self.too_long:
            return f"{len(self.examples):,} pairs"
        share = self.too_long / (self.too_long + len(self.examples))
        return f"{len(self.examples):,} pairs; {self.too_long:,} over {maximum_length} tokens left out ({share:.1%})"


def encode(
    tokenizer: Any,
    pairs: Sequence[Pair],
    languages: LanguagePair,
    *,
    maximum_length: int,
    cache: Cache = NOTHING_KEPT,
) -> Encoded:
    """Tokenise pairs, leaving out those with a side of more than `maximum_length` tokens.

    Raises:
        FmallocError: there is no room for the arrays.
    """
    if pairs:
        set_languages(tokenizer, languages)
    text = pairs.text.nbytes if isinstance(pairs, Pairs) and pairs.rows is None else 0
    made_from: dict[str, Any] = {}
    if cache.keeps(text):
        made_from = {"format": _FORMAT, "pairs": digest(pairs), "languages": list(languages)} | identity(tokenizer)

    def make(draft: Draft) -> Mapping[str, Any]:
        columns = {
            side: (draft.column(f"{side}.ids", "int32"), draft.column(f"{side}.starts", "int64")) for side in _SIDES
        }
        many = len(pairs) >= _MANY
        sides = [Side(tokenizer, target=side == "target", many=many) for side in _SIDES] if pairs else []
        for _, starts in columns.values():
            starts.append([0])
        with bar("tokenising", len(pairs)) if text >= WORTH_KEEPING else nullcontext() as advance:
            for block in ids_of(sides, pairs) if pairs else ():
                for found, (ids, starts) in zip(block, columns.values(), strict=True):
                    starts.append(ids.bytes // ids.dtype.itemsize + np.cumsum(found.sizes))
                    ids.append(found.ids)
                if advance:
                    advance(len(block[0].sizes))
        return {}

    arrays = cache.entry("tokens", made_from, make, text_bytes=text).arrays
    sides = [(arrays[f"{side}.ids"], arrays[f"{side}.starts"]) for side in _SIDES]
    fitting = Examples.of(sides, maximum_length)
    return Encoded(fitting, len(pairs) - len(fitting))


def batch_indices(lengths: Sequence[int], batch_tokens: int, *, seed: int | None = None) -> list[list[int]]:
    """Groups of indices; padded to its longest, no group exceeds `batch_tokens` unless one example alone does.

    With a seed the order is random, with lengths alike inside a pool of examples only; without, it is by length.
    """
    return [group.tolist() for group in Groups.of(np.asarray(lengths), batch_tokens, seed=seed)]


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """Pad examples to one batch."""
    source = _padded([example.source for example in examples], pad)
    lengths = torch.tensor([len(example.source) for example in examples])
    mask = (torch.arange(source.shape[1]) < lengths[:, None]).long()
    return Batch(source, mask, _padded([example.target for example in examples], IGNORED))


def _widened(rows: Tensor, value: int, longest: int) -> Tensor:
    """Columns up to a rounded number, or `longest`."""
    length = rows.shape[1]
    rounded = min(-(-length // _LENGTHS) * _LENGTHS, max(length, longest))
    return torch.nn.functional.pad(rows, (0, rounded - length), value=value)


def _padded(rows: Sequence[list[int]], value: int) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


class Batches(Protocol):
    """An endless sequence of batches."""

    def batch(self, update: int) -> Batch:
        """The batch of an update, counted from 0."""


class TrainingBatches:
    """An endless, seeded sequence of batches; `batch(update)` is the same whatever came before: resuming is exact."""

    def __init__(self, examples: Sequence[Example], batch_tokens: int, pad: int, seed: int) -> None:
        if not examples:
            raise ValueError("no examples to make batches of")
        self._examples, self._tokens, self._pad, self._seed = examples, batch_tokens, pad, seed
        self._lengths = _lengths(examples)
        self._starts = [0]
        self._epoch, self._groups = -1, Groups.of(self._lengths[:0], batch_tokens)

    def batch(self, update: int) -> Batch:
        """The batch of an update, counted from 0."""
        while self._starts[-1] <= update:
            self._starts.append(self._starts[-1] + len(self._groups_of(len(self._starts) - 1)))
        epoch = bisect_right(self._starts, update) - 1
        group = self._groups_of(epoch)[update - self._starts[epoch]]
        return collate([self._examples[i] for i in group.tolist()], self._pad)

    def _groups_of(self, epoch: int) -> Groups:
        """The groups of an epoch; those of one are kept at a time."""
        if self._epoch != epoch:
            self._epoch, self._groups = epoch, self._grouped(epoch)
        return self._groups

    def _grouped(self, epoch: int) -> Groups:
        return Groups.of(self._lengths, self._tokens, seed=self._seed + epoch)


def ordered_batches(examples: Sequence[Example], batch_tokens: int, pad: int) -> Iterator[Batch]:
    """All examples once, by length."""
    for group in Groups.of(_lengths(examples), batch_tokens):
        yield collate([examples[i] for i in group.tolist()], pad)


def _lengths(examples: Sequence[Example]) -> NDArray[Any]:
    found = getattr(examples, "lengths", None)
    return np.array([example.length for example in examples], np.int64) if found is None else found
