"""The parallel texts that a base is trained on, mixed by weights."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from fmalloc.cache.cache import Cache
from fmalloc.corpus import Corpus, Pair, digest, read_corpus
from fmalloc.corpus.overlap import between
from fmalloc.model.text.batches import Example, Examples, TrainingBatches, encode
from fmalloc.model.text.groups import Groups
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

Item = TypeVar("Item")


class Text(NamedTuple):
    """A file or folder of parallel text, and its share of what is read, in relation to the others'; None: its size."""

    path: Path
    weight: float | None = None

    @classmethod
    def of(cls, written: str) -> "Text":
        """From `PATH=WEIGHT` or a path; FmallocError if the weight is no positive number."""
        path, separator, weight = written.rpartition("=")
        if not separator or Path(written).exists():
            return cls(Path(written))
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if not (path and 0 < value < float("inf")):
            raise FmallocError(f"--train {written}: expected PATH or PATH=WEIGHT, such as news.tsv=3")
        return cls(Path(path), value)


class Concatenated(Sequence[Item]):
    """Sequences one after another; nothing is copied."""

    def __init__(self, parts: Sequence[Sequence[Item]]) -> None:
        self.parts = parts
        self.starts = [0, *accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self.starts[-1]

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        part = bisect_right(self.starts, index) - 1
        return self.parts[part][index - self.starts[part]]

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self.parts)


class _ManyExamples(Concatenated[Example]):
    @property
    def lengths(self) -> NDArray[np.int32]:
        return np.concatenate([part.lengths for part in self.parts if isinstance(part, Examples)])


class MixedBatches(TrainingBatches):
    """Batches in which every text has its share: in an epoch, as many pairs as there are in all.

    Of a text with more than its share another part is read in each epoch, one with less is read several times.
    """

    def __init__(
        self, parts: Sequence[Examples], weights: Sequence[float], batch_tokens: int, pad: int, seed: int
    ) -> None:
        self._parts = _ManyExamples(parts)
        total = len(self._parts)
        self._drawn = [max(1, round(total * weight / sum(weights))) for weight in weights]
        super().__init__(self._parts, batch_tokens, pad, seed)

    def _grouped(self, epoch: int) -> Groups:
        chosen = [self._chosen(part, epoch) for part in range(len(self._drawn))]
        rows = np.concatenate(chosen)
        return Groups.of(self._lengths[rows], self._tokens, seed=self._seed + epoch).among(rows)

    def _chosen(self, part: int, epoch: int) -> NDArray[np.int64]:
        """What an epoch reads of a text: the next piece of an endless row of shuffles of it."""
        size, start = len(self._parts.parts[part]), self._parts.starts[part]
        first, last = epoch * self._drawn[part], (epoch + 1) * self._drawn[part]
        turns = range(first // size, -(-last // size))
        shuffled = [np.random.default_rng([self._seed, part, turn]).permutation(size) for turn in turns]
        found: NDArray[np.int64] = np.concatenate(shuffled)[first - turns[0] * size :][: last - first] + start
        return found


class Texts:
    """Corpora that are read for pretraining, by what the user calls them."""

    def __init__(self, texts: Sequence[Text], corpora: Sequence[Corpus]) -> None:
        self.texts, self.corpora = texts, corpora

    @classmethod
    def read(cls, texts: Sequence[Text], languages: LanguagePair, cache: Cache) -> "Texts":
        """Read, clean and report all texts.

        Raises:
            FmallocError: one has a weight and another has none; or as read_corpus.
        """
        if len({text.weight is None for text in texts}) > 1:
            raise FmallocError("--train: give every text a weight (PATH=WEIGHT), or none of them")
        corpora = []
        for text in texts:
            corpora.append(read_corpus(text.path, languages, cache=cache))
            corpora[-1].report.show(str(text.path))
        for message in between(dict(zip((str(text.path) for text in texts), corpora, strict=True))):
            console.print(message, markup=False)
        return cls(texts, corpora)

    @property
    def train(self) -> Sequence[Pair]:
        """All training pairs."""
        return self.corpora[0].train if len(self.corpora) == 1 else Concatenated([one.train for one in self.corpora])

    @property
    def dev(self) -> tuple[Pair, ...]:
        """All dev pairs."""
        return tuple(chain.from_iterable(corpus.dev for corpus in self.corpora))

    def claim(self) -> str:
        """All that decides what is read."""
        digests = [digest(corpus.train) for corpus in self.corpora]
        if len(digests) == 1:
            return digests[0]
        return " ".join(f"{one}={text.weight}" for one, text in zip(digests, self.texts, strict=True))

    def dev_sample(self, count: int) -> tuple[Pair, ...]:
        """So many dev pairs, as many of each text as far as it has them."""
        each = -(-count // len(self.corpora))
        return tuple(chain.from_iterable(corpus.dev[:each] for corpus in self.corpora))[:count]

    def batches(
        self,
        tokenizer: Any,
        languages: LanguagePair,
        maximum_length: int,
        batch_tokens: int,
        seed: int,
        cache: Cache,
    ) -> TrainingBatches:
        """The seeded sequence of batches.

        Raises:
            FmallocError: no pair of a text is short enough.
        """
        parts = []
        for text, corpus in zip(self.texts, self.corpora, strict=True):
            name = "train" if len(self.texts) == 1 else f"{text.path} train"
            parts.append(encoded(tokenizer, corpus.train, languages, maximum_length, cache, name))
        if len(parts) == 1:
            return TrainingBatches(parts[0], batch_tokens, tokenizer.pad_token_id, seed)
        weights = [
            len(part) if text.weight is None else text.weight for part, text in zip(parts, self.texts, strict=True)
        ]
        return MixedBatches(parts, weights, batch_tokens, tokenizer.pad_token_id, seed)


def encoded(
    tokenizer: Any, pairs: Sequence[Pair], languages: LanguagePair, maximum_length: int, cache: Cache, name: str
) -> Examples:
    """Pairs as token ids; what is left out is reported under a name, and an error if it is all."""
    found = encode(tokenizer, pairs, languages, maximum_length=maximum_length, cache=cache)
    console.print(f"{name}: {found.described(maximum_length)}", markup=False)
    if not found.examples:
        raise FmallocError(f"no {name} pair of at most --maximum-length {maximum_length} tokens")
    return found.examples
