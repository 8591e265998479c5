"""Words of a pair that translate each other, by where the general model looks while it writes the target.

The decoder layer is the one whose attention finds words best that both sides have alike, such as names and numbers.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.model.attention import cross_attention
from fmalloc.model.text.batches import Example
from fmalloc.model.text.tokens import end_of, target_frame, target_ids
from fmalloc_shared.commands.progress import bar

# Of the pairs that say which layer aligns best.
TRIED = 200
_WORD = re.compile(r"\w[\w'’-]*\w|\w")

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Word:
    """A word of a text: its characters `begin` to `end`, without punctuation around it."""

    begin: int
    end: int
    text: str


Links = tuple[tuple[Word, Word], ...]


@dataclass(frozen=True)
class Aligned:
    """A pair and the words of it that translate each other, each in one link, in the order of the source."""

    pair: Pair
    links: Links


@dataclass(frozen=True)
class _Read:
    """A pair as the model reads it, and for each side the words with their tokens."""

    example: Example
    source: list[tuple[Word, range]]
    target: list[tuple[Word, range]]


def aligned(model: Any, tokenizer: Any, pairs: Sequence[Pair], *, longest: int) -> list[Aligned]:
    """The pairs of at most `longest` tokens with their links: words that look at each other more than at others.

    The tokenizer's languages are set. Words are told by spaces, so that languages without them have no links.
    """
    reader = _Reader(tokenizer)
    read = [(pair, found) for pair in pairs if (found := reader.read(pair)).example.length <= longest]
    layer = _best_layer(model, [one for _, one in read[:TRIED]])
    links: dict[int, Links] = {}
    with bar("aligning", len(read)) as advance:
        for at, matrix in _matrices(model, [one for _, one in read]):
            links[at] = _links(read[at][1], matrix[layer])
            advance(1)
    return [Aligned(pair, links[at]) for at, (pair, _) in enumerate(read)]


class _Reader:
    """Encodes pairs word by word, so that it is known which tokens a word has."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
        ids = list(tokenizer("", verbose=False)["input_ids"])
        end = ids.index(end_of(tokenizer))
        self._frames = ((ids[:end], ids[end:]), (list(target_frame(tokenizer).prefix), [end_of(tokenizer)]))

    def read(self, pair: Pair) -> _Read:
        """A pair's tokens and words."""
        (source, source_words), (target, target_words) = (self._side(text, side) for side, text in enumerate(pair))
        return _Read(Example(source, target), source_words, target_words)

    def _side(self, text: str, side: int) -> tuple[list[int], list[tuple[Word, range]]]:
        before, after = self._frames[side]
        ids, words = list(before), []
        for chunk in re.finditer(r"\S+", text):
            pieces = self._pieces(chunk[0], side)
            if core := _WORD.search(chunk[0]):
                begin = chunk.start() + core.start()
                word = Word(begin, begin + len(core[0]), core[0])
                words.append((word, range(len(ids), len(ids) + len(pieces))))
            ids += pieces
        return ids + after, words

    def _pieces(self, chunk: str, side: int) -> list[int]:
        known = self._known[side]
        if chunk not in known:
            before, after = self._frames[side]
            whole = target_ids(self._tokenizer, [chunk])[0] if side else self._tokenizer(chunk)["input_ids"]
            known[chunk] = list(whole[len(before) : len(whole) - len(after)])
        return known[chunk]


def _matrices(model: Any, read: Sequence[_Read]) -> Iterator[tuple[int, Matrix]]:
    """By index (layers, target words, source words): how much of its attention a word gives to another."""
    for index, attention in cross_attention(model, [one.example for one in read]):
        one = read[index]
        targets, sources = _sums(one.target, attention.shape[1]), _sums(one.source, attention.shape[2])
        yield index, (targets / targets.sum(1, keepdims=True)) @ attention.numpy() @ sources.T


def _sums(words: Sequence[tuple[Word, range]], tokens: int) -> NDArray[np.float64]:
    """(words, tokens): 1 where a token is one of a word's."""
    found = np.zeros((len(words), tokens))
    for row, (_, own) in enumerate(words):
        found[row, own.start : own.stop] = 1
    return found


def _best_layer(model: Any, read: Sequence[_Read]) -> int:
    """The layer that gives words the most attention to themselves; the last where no word is on both sides."""
    total: NDArray[np.float64] | float = 0.0
    for index, matrix in _matrices(model, read):
        sources, targets = ([word.text for word, _ in side] for side in (read[index].source, read[index].target))
        for at, text in enumerate(targets):
            if sources.count(text) == targets.count(text) == 1:
                total = total + matrix[:, at, sources.index(text)]
    return int(model.config.decoder_layers - 1 if isinstance(total, float) else np.argmax(np.round(total, 6)))


def _links(one: _Read, matrix: Matrix) -> Links:
    """The words that are each other's best, in the order of the source."""
    if not matrix.size:
        return ()
    sources, targets = matrix.argmax(axis=1), matrix.argmax(axis=0)
    mutual = [(int(source), target) for target, source in enumerate(sources) if targets[source] == target]
    return tuple((one.source[source][0], one.target[target][0]) for source, target in sorted(mutual))
