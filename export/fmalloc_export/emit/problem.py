"""What parity is checked on, and what a model makes of it: all as ids of the base model's vocabularies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = tuple[int, ...]
# For pairs of a source's number and an output for it: the log-probability of each token, end token included.
Scorer = Callable[[Sequence[tuple[int, Ids]]], list[list[float]]]


@dataclass(frozen=True)
class Problem:
    """Sentences to translate: sources with prefix and end token, the target prefix (one token at most).

    `target_tokens` int64 (t,): the tokens that may be written, ascending. All others have probability 0.
    """

    sources: tuple[Ids, ...]
    prefix: Ids
    target_tokens: NDArray[np.int64]
    maximum_length: int

    @property
    def longest(self) -> int:
        """Bound on prefix and output together, in tokens."""
        return self.maximum_length + len(self.prefix)

    @property
    def shortest(self) -> int:
        """Least number of tokens before the end token, prefix included."""
        return len(self.prefix) + 1 if self.prefix else 0


@dataclass(frozen=True)
class Outputs:
    """What one model makes of every sentence, without prefix and end token, and how it scores outputs."""

    name: str
    greedy: list[Ids]
    beam: list[Ids]
    score: Scorer
