"""What was read of a corpus, and what was dropped of it and why."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """A line of a file, counted from 1."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Dropped(NamedTuple):
    """How many pairs were dropped for one reason, and where the first of them is, if it is known."""

    pairs: int
    first: Place | None


@dataclass
class Tally:
    """Counts while a corpus is read; `dropped` by reason, in the order in which the reasons came up."""

    read: int = 0
    dropped: dict[str, Dropped] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def drop(self, reason: str, first: Place | None = None, pairs: int = 1) -> None:
        """Count dropped pairs."""
        before = self.dropped.get(reason, Dropped(0, first))
        self.dropped[reason] = Dropped(before.pairs + pairs, before.first)
