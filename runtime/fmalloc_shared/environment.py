"""Environment variables in what users write: expanded where it is used, never where it is shown."""

import os
import re
from pathlib import Path

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_written: dict[str, str] = {}  # by what it was expanded to


def expanded_path(written: str) -> Path:
    """The path with `$NAME`, `${NAME}` and `~` replaced; `as_written` undoes it in messages.

    Raises:
        ValueError: a variable is not set, or there is no such home folder.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise ValueError(f"environment variable {name} is not set")
        return os.environ[name]

    try:
        path = Path(_VARIABLE.sub(value, written)).expanduser()
    except RuntimeError as error:
        raise ValueError("no such home folder") from error
    _remember(Path(written), path)
    return path


def as_written(message: str) -> str:
    """The message with every expanded path in it, and every folder above one, as the user wrote it."""
    if not _written:
        return message
    longest_first = sorted(_written, key=len, reverse=True)
    paths = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    return paths.sub(lambda found: _written[found[0]], message)


def _remember(written: Path, expanded: Path) -> None:
    while written != expanded and written.name:
        _written[str(expanded)] = str(written)
        written, expanded = written.parent, expanded.parent
