"""Cleaning: pairs that teach nothing are left out of the training text and invisible characters removed, both counted.

The recipe's `corpus:` says which.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from fmalloc.corpus.formats.formats import Row
from fmalloc.corpus.pairs import Pair
from fmalloc.corpus.report import Place, Tally
from fmalloc_shared.faults import LONGEST, STEEPEST, has_control, length_fault
from fmalloc_shared.invisible import without_invisible


class CorpusSettings(BaseModel):
    """Which training pairs are dropped or changed; each is counted. A pair with an empty side is always dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    maximum_characters: Annotated[int | None, Field(ge=1, description="of the longer side; none: any length")] = LONGEST
    maximum_ratio: Annotated[float | None, Field(gt=1, description="of the sides' characters; none: any ratio")] = (
        STEEPEST
    )
    drop_control_characters: Annotated[bool, Field(description="pairs with ASCII control characters or U+FFFD")] = True
    remove_invisible: Annotated[bool, Field(description="soft hyphens and others that show and mean nothing")] = True
    drop_duplicates: Annotated[bool, Field(description="all but the first of identical pairs")] = True
    drop_overlap: Annotated[bool, Field(description="pairs that dev or test have, but for case and punctuation")] = True


# For text that is translated or scored instead of learned.
EVERYTHING = CorpusSettings(
    maximum_characters=None,
    maximum_ratio=None,
    drop_control_characters=False,
    remove_invisible=False,
    drop_duplicates=False,
    drop_overlap=False,
)


def filled(path: Path, rows: Iterable[Row], tally: Tally) -> Iterator[tuple[int, Pair]]:
    """Line and pair of the rows that have text on both sides."""
    for line, source, target in rows:
        if source and target:
            yield line, Pair(source, target)
        else:
            tally.drop("empty side", Place(path, line))


class Cleaned(NamedTuple):
    """A pair that the settings keep, where it stands, and whether invisible characters were taken out of it."""

    line: int
    pair: Pair
    changed: bool


def clean(path: Path, rows: Iterable[Row], settings: CorpusSettings, tally: Tally) -> Iterator[Cleaned]:
    """Pairs of the rows that the settings keep, but for duplicates."""
    for line, pair in filled(path, rows, tally):
        shown = pair
        if settings.remove_invisible and not (pair.source.isprintable() and pair.target.isprintable()):
            shown = Pair(*map(_visible, pair))
        reason = _fault(pair, settings) or (None if all(shown) else "empty side")
        if reason is not None:
            tally.drop(reason, Place(path, line))
            continue
        yield Cleaned(line, shown, shown != pair)


def _fault(pair: Pair, settings: CorpusSettings) -> str | None:
    if fault := length_fault(*pair, settings.maximum_characters, settings.maximum_ratio):
        return fault
    if settings.drop_control_characters and (has_control(pair.source) or has_control(pair.target)):
        return "control characters"
    return None


def _visible(text: str) -> str:
    return text if text.isprintable() else without_invisible(text).strip()
