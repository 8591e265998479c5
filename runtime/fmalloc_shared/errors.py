"""The root of every error that a user can mend, and text of files made fit to be shown."""

import re

# Control characters but tab and line feed, what turns the direction of writing, and halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_LONGEST_LINE = 3_000
_MOST_LINES = 200


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: what is unprintable is escaped as in JSON, such as `\\u001b`."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class FmallocError(Exception):
    """Bad input or a damaged artefact: the message names the file, the value and what would be right.

    Commands print it and exit with code 2; it never comes with a traceback. It is printable and has a few screens at
    most, whatever the file holds.
    """

    def __str__(self) -> str:
        lines = printable(super().__str__()).split("\n")
        if (more := len(lines) - _MOST_LINES) > 0:
            lines[_MOST_LINES:] = [f"and {more:,} more lines"]
        return "\n".join(map(_bounded, lines))


def _bounded(line: str) -> str:
    """The line without its middle if nobody would read it."""
    if len(line) <= _LONGEST_LINE:
        return line
    half = _LONGEST_LINE // 2
    return f"{line[:half]} [... {len(line) - 2 * half:,} characters ...] {line[-half:]}"
