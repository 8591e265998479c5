"""Corrections of translations: what is garbage, and the log that a server keeps for `fmalloc correct`."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fmalloc_shared.faults import has_control, is_copied, length_fault
from fmalloc_shared.files import open_plain
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import DomainName
from fmalloc_shared.strict import StrictModel

ENDING = ".jsonl"
# A longer line cannot be a correction: each side has few characters.
_LONGEST_LINE = 1 << 20


class Correction(StrictModel):
    """One line of the log."""

    version: Literal[1] = 1
    """Of the line."""
    time: str
    """UTC, ISO 8601."""
    request: str | None = None
    """Its id."""
    client: str | None = None
    """Name of the key; absent where the server has no keys."""
    languages: LanguagePair
    """Of the text."""
    asked: str
    """A domain or `auto`."""
    domain: DomainName
    """Asked for, or chosen for all sources of the request together."""
    score: Annotated[float, Field(ge=0, le=1)]
    """Posterior probability of that domain."""
    bundle: str
    """Which served that domain when the correction came."""
    source: Annotated[str, Field(min_length=1)]
    """What was translated."""
    target: Annotated[str, Field(min_length=1)]
    """How it should have been translated."""


def identity(source: str, target: str) -> bytes:
    """What two equal corrections have in common: 16 bytes."""
    return sha256(f"{source}\t{target}".encode()).digest()[:16]


def refusal(source: str, target: str) -> str | None:
    """Why a correction, both sides stripped, teaches nothing; None if it may."""
    if not source or not target:
        return "a side is empty"
    if "\n" in source or "\n" in target or "\r" in source or "\r" in target:
        return "several lines: send a correction per line"
    if has_control(source) or has_control(target):
        return "control characters"
    if fault := length_fault(source, target):
        return fault
    return "the target has the words of the source" if is_copied(source, target) else None


def read_log(path: Path) -> Iterator[tuple[int, Correction]]:
    """Number and content of each line of a log. A last line without its end, which is being written, is left out.

    FmallocError names the line that is none.
    """
    with open_plain(path) as file:
        number = 0
        while (line := file.readline(_LONGEST_LINE)).endswith(b"\n"):
            number += 1
            yield number, Correction.parse(line, f"{path}:{number}")
        if len(line) == _LONGEST_LINE:
            Correction.parse(line, f"{path}:{number + 1}")
