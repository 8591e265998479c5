"""The engine interface: source tokens in, target tokens out. The rest of the runtime knows no other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fmalloc_shared.errors import FmallocError

# What is searched with where neither a request nor the bundle states a size.
BEAM_SIZE = 4
# Padded tokens per call of the model: bounds memory whatever the number of sentences.
BATCH_TOKENS = 2048

Mixing = Literal["any", "equal", "none"]


@dataclass(frozen=True)
class TranslationOptions:
    """Beam search options. The defaults agree with transformers' beam search with `early_stopping=True`.

    `beam_size` None: the bundle's own, or 4, or as many as there are hypotheses; see `beam` and `within`.
    `max_length` bounds the output in tokens, end token included (None: as long as the model can).
    `length_penalty` is the exponent of the length that a hypothesis' log-probability is divided by.
    `hypotheses`: how many to return per source, at most the beam; `attention`: whether they carry attention;
    `fast_attention`: then the first token's may be zero, where finding it takes the engine more time.
    """

    beam_size: int | None = None
    max_length: int | None = None
    length_penalty: float = 1.0
    hypotheses: int = 1
    attention: bool = False
    fast_attention: bool = False

    def __post_init__(self) -> None:
        if self.beam_size is not None and self.beam_size < 1:
            raise FmallocError(f"beam size {self.beam_size}: expected 1 or more")
        if not 1 <= self.hypotheses <= self.beam:
            most = f" to {self.beam}, the beam size" if self.beam_size else " or more"
            raise FmallocError(f"{self.hypotheses} hypotheses: expected 1{most}")
        if self.max_length is not None and self.max_length < 1:
            raise FmallocError(f"maximum length {self.max_length}: expected 1 or more tokens")

    @property
    def beam(self) -> int:
        """The size that is searched with."""
        return self.beam_size or max(BEAM_SIZE, self.hypotheses)

    def within(self, beam_size: int | None) -> "TranslationOptions":
        """The options where this size holds, if there is one, unless they state their own."""
        if self.beam_size is not None or beam_size is None:
            return self
        return replace(self, beam_size=max(beam_size, self.hypotheses))


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

    def score(
        self, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], target_prefix: Sequence[str]
    ) -> list[float]:
        """Log-probability of each target, in nats per token, end token included and prefix not.

        Targets carry neither prefix nor end token.
        """
        ...


def translate_exactly(
    engine: Engine, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
) -> list[tuple[Hypothesis, ...]]:
    """As Engine.translate, but batch-invariant: in as many calls as `engine.mixing` requires."""
    found: list[tuple[Hypothesis, ...]] = [()] * len(sources)
    for positions in _groups(engine.mixing, map(len, sources)):
        batch = [sources[position] for position in positions]
        for position, hypotheses in zip(positions, engine.translate(batch, target_prefix, options), strict=True):
            found[position] = hypotheses
    return found


def score_exactly(
    engine: Engine,
    sources: Sequence[Sequence[str]],
    targets: Sequence[Sequence[str]],
    target_prefix: Sequence[str],
) -> list[tuple[Hypothesis, ...]]:
    """The targets with their scores as Engine.score gives them, batch-invariant as `translate_exactly`."""
    found: list[tuple[Hypothesis, ...]] = [()] * len(sources)
    lengths = [(len(source), len(target)) for source, target in zip(sources, targets, strict=True)]
    for positions in _groups(engine.mixing, lengths):
        read, said = ([texts[position] for position in positions] for texts in (sources, targets))
        for position, score in zip(positions, engine.score(read, said, target_prefix), strict=True):
            found[position] = (Hypothesis(tuple(targets[position]), score),)
    return found


def _groups(mixing: Mixing, lengths: Iterable[object]) -> Iterable[list[int]]:
    """Positions of the sources that may share a batch."""
    groups: dict[object, list[int]] = {}
    for position, length in enumerate(lengths):
        key = {"any": 0, "equal": length, "none": position}[mixing]
        groups.setdefault(key, []).append(position)
    return groups.values()


def version_tuple(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison."""
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
