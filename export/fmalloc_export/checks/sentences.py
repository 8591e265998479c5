"""The sentences on which parity is checked, as tokens: the store's samples, and random ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmalloc_export.domain.vocabulary import Vocabulary
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer

_REAL = 64
_RANDOM = 64
_LONGEST = 24
_SEED = 1


@dataclass(frozen=True)
class Sentences:
    """Source tokens with prefix and end token; the first `real` sentences are real text."""

    tokens: tuple[tuple[str, ...], ...]
    real: int

    @property
    def random(self) -> int:
        """Number of sentences of random tokens."""
        return len(self.tokens) - self.real


def sentences_of(texts: Sequence[str], tokenizer: Tokenizer, vocabulary: Vocabulary, maximum_length: int) -> Sentences:
    """At most 64 of `texts`, and 64 random sentences from a fixed seed.

    Sentences that do not fit into the model's positions are left out.
    """
    encoded = (tuple(tokenizer.encode(text)) for text in texts if text.strip())
    real = [tokens for tokens in encoded if len(tokens) <= maximum_length][:_REAL]
    return Sentences((*real, *_random(tokenizer, vocabulary, maximum_length)), len(real))


def _random(tokenizer: Tokenizer, vocabulary: Vocabulary, maximum_length: int) -> list[tuple[str, ...]]:
    prefix, suffix = tokenizer.config.source_prefix, tokenizer.config.source_suffix
    longest = min(_LONGEST, maximum_length - len(prefix) - len(suffix))
    special = set(vocabulary.special)
    pieces = [token for token in vocabulary.source if token not in special]
    draw = np.random.default_rng(_SEED)
    lengths = draw.integers(1, longest, size=_RANDOM, endpoint=True)
    return [(*prefix, *(pieces[i] for i in draw.integers(len(pieces), size=n)), *suffix) for n in lengths]
