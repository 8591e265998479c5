"""Texts as lines to translate and line ends to keep."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_END = re.compile(r"(\r\n|\n|\r)")


@dataclass(frozen=True)
class Document:
    """All lines of some texts, and the line ends that make the texts again."""

    lines: tuple[str, ...]
    ends: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Document":
        """Split each text at LF, CRLF and CR; other separators belong to a line."""
        parts = [_END.split(text) for text in texts]
        lines = tuple(line for text in parts for line in text[::2])
        return cls(lines, tuple((*text[1::2], "") for text in parts))

    def with_lines(self, lines: Sequence[str]) -> list[str]:
        """The texts with other lines, one for each, between the same ends."""
        rest = iter(lines)
        return ["".join(next(rest) + end for end in ends) for ends in self.ends]
