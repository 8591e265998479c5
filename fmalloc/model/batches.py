"""Pairs as token ids, and batches of about equally long pairs under a token budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fmalloc.corpus import Pair
from fmalloc.model.tokens import set_languages, target_ids
from fmalloc_shared.languages import LanguagePair

IGNORED = -100
_POOL = 64


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
    """source, source_mask: (batch, source length); target: (batch, target length), padded with IGNORED."""

    source: Tensor
    source_mask: Tensor
    target: Tensor

    @property
    def target_tokens(self) -> int:
        """Non-padding target positions."""
        return int((self.target != IGNORED).sum())

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device; from pinned memory the copy to CUDA does not hold up the program."""
        parts = (self.source, self.source_mask, self.target)
        if device.type == "cuda":
            parts = tuple(part.pin_memory() for part in parts)  # type: ignore[assignment]
        return Batch(*(part.to(device, non_blocking=True) for part in parts))


class Encoded(NamedTuple):
    """Examples that fit, and how many pairs were too long."""

    examples: tuple[Example, ...]
    too_long: int

    def described(self, maximum_length: int) -> str:
        """What was encoded, and what was left out as longer than `maximum_length` tokens."""
        if not self.too_long:
            return f"{len(self.examples):,} pairs"
        share = self.too_long / (self.too_long + len(self.examples))
        return f"{len(self.examples):,} pairs; {self.too_long:,} over {maximum_length} tokens left out ({share:.1%})"


def encode(tokenizer: Any, pairs: Sequence[Pair], languages: LanguagePair, *, maximum_length: int) -> Encoded:
    """Tokenise pairs, leaving out those with a side of more than `maximum_length` tokens."""
    if not pairs:
        return Encoded((), 0)
    set_languages(tokenizer, languages)
    sources = tokenizer([pair.source for pair in pairs], verbose=False)["input_ids"]
    targets = target_ids(tokenizer, [pair.target for pair in pairs])
    examples = [Example(s, t) for s, t in zip(sources, targets, strict=True)]
    fitting = tuple(example for example in examples if example.length <= maximum_length)
    return Encoded(fitting, len(examples) - len(fitting))


def batch_indices(lengths: Sequence[int], batch_tokens: int, *, seed: int | None = None) -> list[list[int]]:
    """Groups of indices; padded to its longest, no group exceeds `batch_tokens` unless one example alone does.

    With a seed the order is random, with lengths alike inside a pool of examples only; without, it is by length.
    """
    if seed is None:
        order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
        return list(_groups(order, lengths, batch_tokens))
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(lengths)).tolist()
    pool = max(1, _POOL * batch_tokens // max(1, int(np.mean(lengths))))
    groups: list[list[int]] = []
    for start in range(0, len(shuffled), pool):
        by_length = sorted(shuffled[start : start + pool], key=lambda i: lengths[i])
        groups.extend(_groups(by_length, lengths, batch_tokens))
    return [groups[i] for i in random.permutation(len(groups)).tolist()]


def _groups(order: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    group: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index])
        if group and longest * (len(group) + 1) > batch_tokens:
            yield group
            group, longest = [], lengths[index]
        group.append(index)
    if group:
        yield group


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """Pad examples to one batch."""
    source = _padded([example.source for example in examples], pad)
    lengths = torch.tensor([len(example.source) for example in examples])
    mask = (torch.arange(source.shape[1]) < lengths[:, None]).long()
    return Batch(source, mask, _padded([example.target for example in examples], IGNORED))


def _padded(rows: Sequence[list[int]], value: int) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


class TrainingBatches:
    """An endless, seeded sequence of batches; `batch(update)` is the same whatever came before: resuming is exact."""

    def __init__(self, examples: Sequence[Example], batch_tokens: int, pad: int, seed: int) -> None:
        self._examples, self._tokens, self._pad, self._seed = examples, batch_tokens, pad, seed
        self._lengths = [example.length for example in examples]
        self._epochs: list[list[list[int]]] = []
        self._starts = [0]

    def batch(self, update: int) -> Batch:
        """The batch of an update, counted from 0."""
        while self._starts[-1] <= update:
            groups = batch_indices(self._lengths, self._tokens, seed=self._seed + len(self._epochs))
            self._epochs.append(groups)
            self._starts.append(self._starts[-1] + len(groups))
        epoch = next(i for i, start in enumerate(self._starts[1:]) if update < start)
        group = self._epochs[epoch][update - self._starts[epoch]]
        return collate([self._examples[i] for i in group], self._pad)


def ordered_batches(examples: Sequence[Example], batch_tokens: int, pad: int) -> Iterator[Batch]:
    """All examples once, by length."""
    for group in batch_indices([example.length for example in examples], batch_tokens):
        yield collate([examples[i] for i in group], pad)
