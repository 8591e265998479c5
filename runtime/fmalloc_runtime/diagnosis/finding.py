"""What a check of an installation finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What one check found; `fail`: it keeps the installation from serving. `advice` is empty where all is well."""

    check: str
    state: State
    found: str
    advice: str = ""


Check = Callable[[], Iterator[Finding]]


def version_tuple(version: str) -> tuple[int, ...]:
    """The numbers of a version, to compare it by."""
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def readable(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
