"""What turns source tokens into target tokens: the one interface that the rest of the runtime knows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fmalloc_shared.errors import FmallocError

# Padded tokens that one call of the model may hold: bounds memory whatever the number of sentences.
BATCH_TOKENS = 2048


Mixing = Literal["any", "equal", "none"]


@dataclass(frozen=True)
class TranslationOptions:
    """How to search. The defaults agree with transformers' beam search with `early_stopping=True`.

    `max_length` bounds the output in tokens, end token included (None: as long as the model can).
    `length_penalty` is the exponent of the length that a hypothesis' log-probability is divided by.
    `hypotheses`: how many of each source are wanted, at most `beam_size`; `attention`: whether they carry it.
    """

    beam_size: int = 4
    max_length: int | None = None
    length_penalty: float = 1.0
    hypotheses: int = 1
    attention: bool = False

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise FmallocError(f"beam size {self.beam_size}: expected 1 or more")
        if not 1 <= self.hypotheses <= self.beam_size:
            raise FmallocError(f"{self.hypotheses} hypotheses: expected 1 to {self.beam_size}, the beam size")
        if self.max_length is not None and self.max_length < 1:
            raise FmallocError(f"maximum length {self.max_length}: expected 1 or more tokens")


@dataclass(frozen=True)
class Hypothesis:
    """An output of the model, without target prefix and end token.

    `score` is its log-probability in nats over its length to the power of the length penalty; it ranks
    hypotheses of one source and says nothing about quality. `attention`, where it was asked for and the model has it,
    is (tokens, source tokens): how much each token looked at each source token, rows adding up to 1.
    """

    tokens: tuple[str, ...]
    score: float
    attention: NDArray[np.float32] | None = field(default=None, compare=False)


class Engine(Protocol):
    """Translates tokens; safe to call from several threads at once.

    `mixing`: which sources can share a batch without changing each other's translations: any, those of equal length
    (padding changes the last bits of sums, which rounding to integers can turn into other words), or none.
    """

    device: str
    mixing: Mixing

    def translate(
        self, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
    ) -> list[tuple[Hypothesis, ...]]:
        """The best hypotheses of each source, best first. Sources carry their own prefix and end token; none is cut."""
        ...


def translate_exactly(
    engine: Engine, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
) -> list[tuple[Hypothesis, ...]]:
    """As Engine.translate, in as many calls as it takes for no source to change another's translation."""
    groups: dict[int, list[int]] = {}
    for position, source in enumerate(sources):
        key = {"any": 0, "equal": len(source), "none": position}[engine.mixing]
        groups.setdefault(key, []).append(position)
    found: list[tuple[Hypothesis, ...]] = [()] * len(sources)
    for positions in groups.values():
        batch = [sources[position] for position in positions]
        for position, hypotheses in zip(positions, engine.translate(batch, target_prefix, options), strict=True):
            found[position] = hypotheses
    return found
