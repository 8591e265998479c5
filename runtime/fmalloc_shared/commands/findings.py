"""Findings of `fmalloc doctor`: what serving and learning each say about an installation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]
Purpose = Literal["serve", "learn"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    `fail`: the installation cannot do what it is asked for, its `purpose`. `advice` is empty if all is well.
    """

    check: str
    state: State
    found: str
    advice: str = ""
    purpose: Purpose = "serve"


Check = Callable[[], Iterator[Finding]]
