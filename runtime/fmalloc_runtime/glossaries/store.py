"""The glossaries that a server keeps: a folder per client, a file per glossary, written whole or not at all."""

import fcntl
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from fmalloc_runtime.errors import GlossariesFullError, GlossariesOffError, MissingGlossaryError, QuotaExceededError
from fmalloc_runtime.glossaries.glossary import ID, Glossary
from fmalloc_runtime.text.terms import Entry, Terms
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sync_directory, write_private
from fmalloc_shared.languages import LanguagePair

MOST_GLOSSARIES = 1_000
"""Per client, as DeepL allows."""
_log = logging.getLogger(__name__)
_ENDING = ".json"
# Indexes of glossaries in memory; the files are read again without.
_MOST_INDEXES = 64
_OFF = "this server keeps no glossaries: its operator may turn that on with --glossaries"
# Which file it is and which state of it, and for which languages it was indexed.
_Key = tuple[str, int, int, str, str]


class GlossaryStore:
    """Keeps glossaries by client; safe to use from several threads and processes, which may share the folder.

    A client sees its own alone. What is written is on disk on return.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        """`folder` None: none are kept. `limit`: most bytes per client. FmallocError if it cannot be written."""
        self._folder, self._limit = folder, limit
        self._lock = Lock()
        self._indexes: OrderedDict[_Key, Terms] = OrderedDict()
        if folder is None:
            return
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(folder, error) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FmallocError(f"{folder}: glossaries cannot be kept there: no right to write")

    @property
    def on(self) -> bool:
        """Whether glossaries are kept."""
        return self._folder is not None

    def add(self, client: str, glossary: Glossary) -> None:
        """Keep a new glossary; raises as `change`."""
        with self._opened(client) as folder:
            self._write(folder, glossary)

    def list(self, client: str) -> list[Glossary]:
        """All of a client, the oldest first."""
        folder = self._of(client)
        found = [Glossary.read(path) for path in folder.glob(f"*{_ENDING}")] if folder.is_dir() else []
        return sorted(found, key=lambda glossary: (glossary.created, glossary.id))

    def get(self, client: str, id_: str) -> Glossary:
        """A glossary of a client; MissingGlossaryError if there is none of this id."""
        return Glossary.read(self._path(client, id_))

    def change(self, client: str, id_: str, change: Callable[[Glossary], Glossary]) -> Glossary:
        """Put what `change` makes of a glossary in its place, and return it.

        Raises QuotaExceededError beyond a client's limits, GlossariesFullError if the disk is full.
        """
        with self._opened(client) as folder:
            changed = change(Glossary.read(self._path(client, id_)))
            self._write(folder, changed)
            return changed

    def delete(self, client: str, id_: str) -> None:
        """Delete a glossary; MissingGlossaryError if there is none of this id."""
        with self._opened(client) as folder:
            self._path(client, id_).unlink()
            sync_directory(folder)

    def terms(self, client: str, id_: str, languages: LanguagePair) -> Terms | None:
        """The index of a glossary for a language pair, None if it has none of that; it is made once per state."""
        path = self._path(client, id_)
        status = path.stat()
        key = (str(path), status.st_ino, status.st_mtime_ns, *languages)
        with self._lock:
            if (known := self._indexes.get(key)) is not None:
                self._indexes.move_to_end(key)
                return known
        dictionary = Glossary.read(path).dictionary(languages)
        if dictionary is None:
            return None
        made = Terms((Entry(*entry) for entry in dictionary.entries), *languages)
        with self._lock:
            self._indexes[key] = made
            while len(self._indexes) > _MOST_INDEXES:
                self._indexes.popitem(last=False)
        return made

    def _of(self, client: str) -> Path:
        if self._folder is None:
            raise GlossariesOffError(_OFF)
        return self._folder / client

    def _path(self, client: str, id_: str) -> Path:
        path = self._of(client) / f"{id_}{_ENDING}"
        if not re.fullmatch(ID, id_) or not path.is_file():
            raise MissingGlossaryError(f"no glossary {id_[:80]!r} of this key")
        return path

    def _write(self, folder: Path, glossary: Glossary) -> None:
        data = glossary.to_bytes()
        name = f"{glossary.id}{_ENDING}"
        others = {path.name: path.stat().st_size for path in folder.glob(f"*{_ENDING}") if path.name != name}
        if len(others) >= MOST_GLOSSARIES:
            raise QuotaExceededError(f"this key has {len(others)} glossaries, the most that it may have: delete some")
        if (size := sum(others.values()) + len(data)) > self._limit:
            raise QuotaExceededError(
                f"the glossaries of this key would have {size} bytes, at most {self._limit} are kept: delete some"
            )
        try:
            write_private(folder / name, data)
        except OSError as error:
            _log.error("%s: a glossary cannot be kept: %s", folder, error.strerror or error)
            raise GlossariesFullError("glossaries cannot be kept: there is no room on the server's disk") from error

    @contextmanager
    def _opened(self, client: str) -> Iterator[Path]:
        """The folder of a client, locked against other writers."""
        folder = self._of(client)
        try:
            folder.mkdir(mode=0o750, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise _unusable(folder, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(descriptor)


def _unusable(path: Path, error: OSError) -> FmallocError:
    return FmallocError(f"{path}: glossaries cannot be kept there: {error.strerror or error}")
