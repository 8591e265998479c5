"""The protocol of the emitters, one module per engine, and the problem on which emitted models are checked."""

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

# Imported on demand: each needs its own libraries.
ENGINES: Mapping[str, str] = {"ctranslate2": "fmalloc_export.emit.ctranslate2", "onnx": "fmalloc_export.emit.onnx"}

Ids = tuple[int, ...]
# From pairs of a source's index and an output for it to the log-probability of each token, end token included.
Scorer = Callable[[Sequence[tuple[int, Ids]]], list[list[float]]]


@dataclass(frozen=True)
class Problem:
    """Sentences to translate, as ids of the base model's vocabularies.

    `sources` have prefix and end token. `prefix`: the target prefix, at most one token. `target_tokens` int64 (t,): the
    tokens that may be written, ascending; all others have probability 0.
    """

    sources: tuple[Ids, ...]
    prefix: Ids
    target_tokens: NDArray[np.int64]
    maximum_length: int

    @property
    def longest(self) -> int:
        """The most tokens of prefix and output together."""
        return self.maximum_length + len(self.prefix)

    @property
    def shortest(self) -> int:
        """The fewest tokens before the end token, prefix included."""
        return len(self.prefix) + 1 if self.prefix else 0


@dataclass(frozen=True)
class Outputs:
    """One model's output per sentence, without prefix and end token, and its scorer."""

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
        """Write the engine's files into the existing, empty `directory`.

        `model` gives the feed-forward cells and the target tokens; the domain's base gives the rest and is not changed.
        Equal inputs give equal bytes. FmallocError if the engine cannot run the model.
        """

    def outputs(self, directory: Path, problem: Problem, vocabulary: Vocabulary, beam_size: int) -> Outputs:
        """The outputs of the float32 model in `directory`, of greedy and of beam search."""


def emitter_of(engine: str) -> Emitter:
    """The emitter for an engine of ENGINES."""
    return cast(Emitter, import_module(ENGINES[engine]))
