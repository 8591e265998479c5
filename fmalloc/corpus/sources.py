"""Source sentences without translations, of which there is more than of parallel text."""

from pathlib import Path

from fmalloc.corpus.formats.files import lines
from fmalloc_shared.errors import FmallocError


def read_sources(path: Path) -> tuple[str, ...]:
    """The sentences of a text file with one per line, plain or gzip, each once, without blank lines.

    Raises:
        FmallocError: it cannot be read (as `lines`), is empty, or has a tab in a line, as parallel text has.
    """
    found: dict[str, None] = {}
    for number, line in enumerate(lines(path), start=1):
        if "\t" in line:
            raise FmallocError(f"{path}:{number}: has a tab; expected sentences in the source language, one per line")
        if text := " ".join(line.split()):
            found[text] = None
    if not found:
        raise FmallocError(f"{path}: no sentence in it")
    return tuple(found)
