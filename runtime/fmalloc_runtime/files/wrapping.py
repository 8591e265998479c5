"""A translation in as many lines as its source had, which was joined to be translated."""

import re
from collections.abc import Callable, Sequence

from fmalloc_runtime.files.inline import Piece

# Stand for white space inside a code, where no line ends.
_INSIDE = {" ": "\ue000", "\n": "\ue001", "\t": "\ue002"}


def wrapped(
    pieces: Sequence[Piece],
    lengths: Sequence[int],
    write: Callable[[str], str] = str,
    stuck: re.Pattern[str] | None = None,
) -> list[str]:
    """The pieces as written in as many lines as there are `lengths`, each with about its share of all.

    `stuck`: words that no line begins with. Where there are fewer words than lines, the last ones are empty.
    """
    written = "".join(write(piece.raw) if piece.kind == "text" else _whole(piece.raw) for piece in pieces)
    words: list[str] = []
    for word in written.split(" "):
        if words and stuck is not None and stuck.match(word):
            words[-1] += f" {word}"
        else:
            words.append(word)
    share = sum(len(word) + 1 for word in words) / max(sum(lengths), 1)
    lines: list[str] = []
    at, done, goal = 0, 0, 0.0
    for number, length in enumerate(lengths, start=1):
        first, goal, left = at, goal + length * share, len(lengths) - number
        while at < len(words) and (
            at == first or not left or (len(words) - at > left and done + len(words[at]) / 2 <= goal)
        ):
            done += len(words[at]) + 1
            at += 1
        lines.append(_back(" ".join(words[first:at])))
    return lines


def _whole(raw: str) -> str:
    for space, inside in _INSIDE.items():
        raw = raw.replace(space, inside)
    return raw


def _back(written: str) -> str:
    for space, inside in _INSIDE.items():
        written = written.replace(inside, space)
    return written
