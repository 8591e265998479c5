"""A row of the scoreboard: a model, how it is run, and the work that it has per token."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.scoreboard.limits import Shape, Work
from fmalloc_export.bench.contestant import Contestant
from fmalloc_export.bench.runner import OWN

Group = Literal["PyTorch", "CTranslate2", "fine-tuned", "Marian", "random cells", "fmalloc"]


@dataclass(frozen=True)
class Contender:
    """`weights`: type of its numbers. `slow`: measured on fewer sentences, since it takes long.

    `untrained`: weights are random, so that translations mean nothing and are as long as the base's by construction.
    `command`: the process that runs it.
    """

    contestant: Contestant
    group: Group
    weights: str
    shape: Shape
    level: str | None = None
    command: Sequence[str] = OWN
    slow: bool = False
    untrained: bool = False

    @property
    def name(self) -> str:
        """For tables and keys."""
        return self.contestant.name

    def at(self, threads: int, beam_size: int) -> "Contender":
        """The same, run otherwise."""
        return replace(self, contestant=self.contestant.at(threads, beam_size, "cpu"))

    def work(self) -> Work:
        """Per token, in its search."""
        return Work(self.shape, self.weights, self.contestant.beam_size)


@dataclass(frozen=True)
class Field:
    """All contenders of a domain; the first is what the others are compared with. `left_out`: why, by name."""

    contenders: tuple[Contender, ...]
    left_out: dict[str, str]
