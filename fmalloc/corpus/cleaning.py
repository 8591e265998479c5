"""Cleaning: pairs that teach nothing are left out of the training text and invisible characters removed, both counted.

The recipe's `corpus:` says which.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from fmalloc.corpus.formats import Row
from fmalloc.corpus.pairs import Pair
from fmalloc.corpus.report import Place, Tally
from fmalloc_shared.invisible import without_invisible

# Below this length the ratio says little: an abbreviation or a script of syllables packs much into few characters.
_RATIO_FROM = 50
# C1 is not among them: text whose Windows quotation marks were read as Latin-1 is otherwise sound.
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_LOST = "\ufffd"


class CorpusSettings(BaseModel):
    """Which training pairs are dropped or changed; each is counted. A pair with an empty side is always dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    maximum_characters: Annotated[int | None, Field(ge=1, description="of the longer side; none: any length")] = 5000
    maximum_ratio: Annotated[float | None, Field(gt=1, description="of the sides' characters; none: any ratio")] = 9.0
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


def clean(path: Path, rows: Iterable[Row], settings: CorpusSettings, tally: Tally) -> Iterator[Pair]:
    """Pairs of the rows that the settings keep."""
    seen: set[Pair] = set()
    for line, pair in filled(path, rows, tally):
        shown = Pair(*map(_visible, pair)) if settings.remove_invisible else pair
        reason = _fault(pair, settings) or (None if all(shown) else "empty side")
        if settings.drop_duplicates and reason is None:
            if shown in seen:
                reason = "duplicate"
            seen.add(shown)
        if reason is not None:
            tally.drop(reason, Place(path, line))
            continue
        if shown != pair:
            tally.clean("invisible characters taken out", Place(path, line))
        yield shown


def _fault(pair: Pair, settings: CorpusSettings) -> str | None:
    shorter, longer = sorted((len(pair.source), len(pair.target)))
    if settings.maximum_characters is not None and longer > settings.maximum_characters:
        return f"over {settings.maximum_characters} characters"
    if settings.maximum_ratio is not None and longer >= _RATIO_FROM and longer > settings.maximum_ratio * shorter:
        return f"length ratio over {settings.maximum_ratio:g}"
    if settings.drop_control_characters and (_has_control(pair.source) or _has_control(pair.target)):
        return "control characters"
    return None


def _has_control(text: str) -> bool:
    return _LOST in text or (not text.isprintable() and _CONTROL.search(text) is not None)


def _visible(text: str) -> str:
    return text if text.isprintable() else without_invisible(text).strip()
