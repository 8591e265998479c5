"""What was translated before a stop, unit by unit, and which files of a folder are done."""

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeVar

from fmalloc_runtime.files.document import Source
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import open_plain
from fmalloc_shared.strict import Digest, StrictModel

_R = TypeVar("_R", bound=StrictModel)


class UnitRecord(StrictModel):
    """One line of the file of units: the digest of what was asked for, and the translation."""

    version: Literal[1] = 1
    """Of the format."""
    unit: Digest
    """SHA-256 of the program's version, the bundle and options, the format and the text, as a JSON list."""
    translation: str
    """Before it is written into the file: with elements in place of inline codes."""


class FileRecord(StrictModel):
    """One line of the file of files: digests of a file, of how it was translated, and of what came of it."""

    version: Literal[1] = 1
    """Of the format."""
    name: str
    """Path in the folder, with `/`."""
    source: Digest
    """SHA-256 of the file that was translated."""
    settings: Digest
    """SHA-256 of the program's version, the live bundles and all options."""
    output: Digest
    """SHA-256 of the translated file, by which an edited one is known."""


class UnitMemory:
    """Translations that are kept as they are made; a line that was not finished is left out.

    They lie beside the output, and are removed once that is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = {record.unit: record.translation for record in _records(path, UnitRecord)}

    def __len__(self) -> int:
        """Translations in it."""
        return len(self._known)

    def find(self, source: Source, how: str) -> str | None:
        """The translation of a text, by a bundle and settings that `how` names; None if there is none."""
        return self._known.get(_digest(how, source.format, source.text))

    def add(self, translations: Mapping[Source, str], how: str) -> None:
        """Keep translations."""
        new = {_digest(how, source.format, source.text): text for source, text in translations.items()}
        _append(self._path, b"".join(UnitRecord(unit=unit, translation=text).to_line() for unit, text in new.items()))
        self._known |= new

    def remove(self) -> None:
        """The output is written: nothing here is needed any more."""
        self._path.unlink(missing_ok=True)


class FileMemory:
    """The files of a folder that are done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, FileRecord] = {}
        self._written: set[tuple[str, str]] = set()
        for record in _records(path, FileRecord):
            self._keep(record)

    def _keep(self, record: FileRecord) -> None:
        self._known[record.name] = record
        self._written.add((record.name, record.output))

    def wrote(self, name: str, output: str) -> bool:
        """Whether a file with this digest was once written for a name."""
        return (name, output) in self._written

    def find(self, name: str) -> FileRecord | None:
        """What is known of a file, by its path in the folder."""
        return self._known.get(name)

    def add(self, record: FileRecord) -> None:
        """Keep a record."""
        self._keep(record)
        _append(self._path, record.to_line())


def digest(data: bytes) -> str:
    """Hex SHA-256."""
    return sha256(data).hexdigest()


def _digest(*parts: str) -> str:
    return digest(json.dumps(parts).encode())


def _append(path: Path, lines: bytes) -> None:
    torn = path.exists() and not _ends_line(path)
    with path.open("ab") as file:
        file.write(b"\n" + lines if torn else lines)
        file.flush()


def _ends_line(path: Path) -> bool:
    with open_plain(path) as file:
        file.seek(0, 2)
        if not (size := file.tell()):
            return True
        file.seek(size - 1)
        return file.read(1) == b"\n"


def _records(path: Path, kind: type[_R]) -> list[_R]:
    """The records of a file that are whole; FmallocError if it is no plain file."""
    found: list[_R] = []
    if os.path.lexists(path):
        with open_plain(path) as file:
            for line in file:
                try:
                    found.append(kind.parse(line, str(path)))
                except FmallocError:
                    continue
    return found
