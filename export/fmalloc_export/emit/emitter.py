"""The emitters: what each engine's module can do, and the problem on which its models are compared with others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.vocabulary import Vocabulary

# Imported when asked for: each needs libraries of its own.
ENGINES: Mapping[str, str] = {"ctranslate2": "fmalloc_export.emit.ctranslate2", "onnx": "fmalloc_export.emit.onnx"}

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


class Emitter(Protocol):
    """A module that emits for one engine."""

    NAME: str
    MINIMUM_VERSION: str
    QUANTIZATIONS: tuple[str, ...]

    def emit(self, domain: Domain, model: DomainModel, directory: Path, quantization: str) -> None:
        """Write what the passes made of `domain` into the existing, empty `directory`.

        `model` gives the feed-forward cells and the target tokens, the domain's base, which stays as it was, all else.
        Equal inputs give equal bytes. FmallocError if the engine cannot take the model.
        """

    def outputs(self, directory: Path, problem: Problem, vocabulary: Vocabulary, beam_size: int) -> Outputs:
        """What the float32 model in `directory` makes of the problem, greedy and with beam search."""


def emitter_of(engine: str) -> Emitter:
    """The emitter for an engine of ENGINES."""
    return cast(Emitter, import_module(ENGINES[engine]))
