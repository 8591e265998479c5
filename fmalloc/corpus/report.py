"""Report on a corpus: pairs are counted while it is read (`Tally`), then sizes, losses and warnings are printed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fmalloc.progress import console

# Parts with fewer pairs than these are reported as tiny.
_FEW_TRAIN = 1000
_FEW_HELD_OUT = 100


class Place(NamedTuple):
    """A line of a file, counted from 1."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Count(NamedTuple):
    """How many pairs were dropped for one reason or cleaned in one way, and where the first is, if known."""

    pairs: int
    first: Place | None


@dataclass
class Tally:
    """Counts while a corpus is read; `dropped` by reason and `cleaned` by what was done, as they came up."""

    read: int = 0
    dropped: dict[str, Count] = field(default_factory=dict)
    cleaned: dict[str, Count] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def drop(self, reason: str, first: Place | None = None, pairs: int = 1) -> None:
        """Count dropped pairs."""
        _add(self.dropped, reason, first, pairs)

    def clean(self, done: str, first: Place) -> None:
        """Count a pair of which something was decoded or taken out."""
        _add(self.cleaned, done, first, 1)


def _add(counts: dict[str, Count], name: str, first: Place | None, pairs: int) -> None:
    before = counts.get(name, Count(0, first))
    counts[name] = Count(before.pairs + pairs, before.first)


@dataclass(frozen=True)
class CorpusReport:
    """Pairs of each part as they are used; `dropped` of the `read` ones by reason, `cleaned` ones by what was done."""

    train: int = 0
    dev: int = 0
    test: int = 0
    read: int = 0
    dropped: dict[str, Count] = field(default_factory=dict)
    cleaned: dict[str, Count] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, tally: Tally, *, train: int, dev: int, test: int) -> "CorpusReport":
        """The report on parts of these sizes, with a warning for each that is tiny."""
        few = [
            f"{pairs:,} {part} pairs (below {enough:,}: {consequence})"
            for part, pairs, enough, consequence in (
                ("train", train, _FEW_TRAIN, "likely to overfit, so that learning stops early"),
                ("dev", dev, _FEW_HELD_OUT, "the choice of the best state is noisy"),
                ("test", test, _FEW_HELD_OUT, "scores may be off by several BLEU"),
            )
            if pairs < enough
        ]
        tiny = [f"tiny: {', '.join(few)}"] if few else []
        return cls(train, dev, test, tally.read, dict(tally.dropped), dict(tally.cleaned), (*tally.warnings, *tiny))

    def messages(self, name: str) -> Iterator[str]:
        """One line on the corpus called `name`, one on what was cleaned, if anything, and one per warning."""
        yield f"{name}: {self.train:,} train, {self.dev:,} dev, {self.test:,} test pairs{self._dropped()}"
        if self.cleaned:
            yield f"{name}: cleaned: {described(self.cleaned)}"
        for warning in self.warnings:
            yield f"{name}: warning: {warning}"

    def show(self, name: str) -> None:
        """Print the lines on standard error."""
        for line in self.messages(name):
            console.print(line, markup=False)

    def _dropped(self) -> str:
        if not self.dropped:
            return ""
        total = sum(dropped.pairs for dropped in self.dropped.values())
        return f"; dropped {total:,} of {self.read:,}: {described(self.dropped)}"


def described(counts: dict[str, Count]) -> str:
    """Counts by name, largest first, each with the line of its first pair."""
    return ", ".join(
        f"{found.pairs:,} {name}{f' (first: {found.first})' if found.first else ''}"
        for name, found in sorted(counts.items(), key=lambda item: -item[1].pairs)
    )
