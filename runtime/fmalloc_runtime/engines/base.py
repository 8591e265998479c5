"""The engine interface: source tokens in, target tokens out. The rest of the runtime knows no other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fmalloc_shared.errors import FmallocError

# Padded tokens per call of the model: bounds memory whatever the number of sentences.
BATCH_TOKENS = 2048

Mixing = Literal["any", "equal", "none"]


@dataclass(frozen=True)
class TranslationOptions:
    """Beam search options. The defaults agree with transformers' beam search with `early_stopping=True`.

    `max_length` bounds the output in tokens, end token included (None: as long as the model can).
    `length_penalty` is the exponent of the length that a hypothesis' log-probability is divided by.
    `hypotheses`: how many to return per source, at most `beam_size`; `attention`: whether they carry attention.
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
    """One output of the model, without target prefix and end token.

    `score`: log-probability in nats over the length to the power of the length penalty. It ranks hypotheses of one
    source and does not measure quality. `attention`: (tokens, source tokens), each row summing to 1, if it was asked
    for and the model provides it.
    """

    tokens: tuple[str, ...]
    score: float
    attention: NDArray[np.float32] | None = field(default=None, compare=False)


class Engine(Protocol):
    """Translates tokens; safe to call from several threads at once.

    `mixing`: which sources can share a batch without changing each other's translations: any; those of equal length,
    because padding changes the last bits of sums, which rounding to integers can turn into other words; or none.
    """

    device: str
    mixing: Mixing

    def translate(
        self, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
    ) -> list[tuple[Hypothesis, ...]]:
        """The best hypotheses of each source, best first. Sources carry prefix and end token; none is truncated."""
        ...


def translate_exactly(
    engine: Engine, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
) -> list[tuple[Hypothesis, ...]]:
    """As Engine.translate, but batch-invariant: in as many calls as `engine.mixing` requires."""
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


def version_tuple(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison."""
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
