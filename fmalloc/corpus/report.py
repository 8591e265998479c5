"""Report on a corpus: pairs are counted while it is read (`Tally`), then sizes, losses and warnings are printed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fmalloc_shared.commands.progress import console

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

    def clean(self, done: str, first: Place, pairs: int = 1) -> None:
        """Count pairs of which something was decoded or taken out."""
        _add(self.cleaned, done, first, pairs)

    def add(self, later: "Tally") -> None:
        """Count what was counted apart, in text that comes later."""
        self.read += later.read
        self.warnings += later.warnings
        for mine, others in ((self.dropped, later.dropped), (self.cleaned, later.cleaned)):
            for name, found in others.items():
                _add(mine, name, found.first, found.pairs)

    def in_order(self) -> None:
        """Sort what one file gave by where it came up first."""
        for counts in (self.dropped, self.cleaned):
            found = sorted(counts.items(), key=lambda item: item[1].first.line if item[1].first else 0)
            counts.clear()
            counts.update(found)

    def state(self) -> dict[str, Any]:
        """JSON-able content."""
        counts = {
            kind: [
                [name, found.pairs, *((str(found.first.path), found.first.line) if found.first else (None, 0))]
                for name, found in of_kind.items()
            ]
            for kind, of_kind in (("dropped", self.dropped), ("cleaned", self.cleaned))
        }
        return {"read": self.read, "warnings": self.warnings, **counts}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Tally":
        """Undo `state`."""
        counts = {
            kind: {name: Count(pairs, Place(Path(path), line) if path else None) for name, pairs, path, line in rows}
            for kind, rows in state.items()
            if kind in ("dropped", "cleaned")
        }
        return cls(state["read"], counts["dropped"], counts["cleaned"], list(state["warnings"]))


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
