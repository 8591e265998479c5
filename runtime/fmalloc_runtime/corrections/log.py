"""The log of corrections: a file of JSON lines per domain, which grows by whole lines that are on disk when they count.

Several servers may share the folder: who appends holds the file's lock, and has read what others appended.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fmalloc_runtime.errors import CorrectionsFullError
from fmalloc_shared.corrections import ENDING, Correction, identity
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sync_directory

_log = logging.getLogger(__name__)
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
# It holds text: only owner and group may read it.
_MODE = 0o640


@dataclass
class _Known:
    """What was read of a file: which one it is, up to which byte, which line, and what its corrections are."""

    place: tuple[int, int] = (0, 0)
    end: int = 0
    lines: int = 0
    identities: set[bytes] = field(default_factory=set)


class CorrectionLog:
    """Appends corrections to the files of their domains; safe to call from several threads and processes.

    A correction that is there already is not written again. A file that was moved away, to be learned from, begins
    anew. What a crash left of a line is cut off, because nobody was told that it is kept.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        """`folder` None: none are kept. `limit`: most bytes per domain.

        FmallocError if the folder cannot be written or what is in it is no log.
        """
        self._folder, self._limit = folder, limit
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        if folder is None:
            return
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            logs = sorted(folder.glob(f"*{ENDING}"))
        except OSError as error:
            raise _unusable(folder, error) from error
        for path in logs:
            with self._opened(path.stem):
                pass
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FmallocError(f"{folder}: corrections cannot be kept there: no right to write")

    @property
    def on(self) -> bool:
        """Whether corrections are kept."""
        return self._folder is not None

    def keep(self, domain: str, corrections: Sequence[Correction]) -> list[bool]:
        """Append those that are not there yet, all or none, and return which are new; they are on disk by then.

        Raises CorrectionsFullError, and nothing is kept, beyond the limit or on a full disk.
        """
        with self._opened(domain) as (descriptor, known):
            identities = [identity(correction.source, correction.target) for correction in corrections]
            new: dict[bytes, bytes] = {}
            fresh = []
            for one, correction in zip(identities, corrections, strict=True):
                fresh.append(one not in known.identities and one not in new)
                if fresh[-1]:
                    new[one] = correction.to_line()
            if new:
                lines = b"".join(new.values())
                self._check_room(domain, known.end + len(lines))
                self._append(domain, descriptor, known.end, lines)
                known.end += len(lines)
                known.lines += len(new)
                known.identities.update(new)
            return fresh

    def _check_room(self, domain: str, size: int) -> None:
        if size > self._limit:
            _log.error("%s: corrections are refused: the limit of %d bytes is reached", domain, self._limit)
            raise CorrectionsFullError(
                f"the corrections of {domain} would have more than {self._limit} bytes, the limit of this server: they "
                "have to be learned from and moved away first"
            )

    def _append(self, domain: str, descriptor: int, end: int, lines: bytes) -> None:
        try:
            written = os.write(descriptor, lines)
            if written == len(lines):
                os.fsync(descriptor)
                return
        except OSError as error:
            os.ftruncate(descriptor, end)
            _log.error("%s: corrections cannot be kept: %s", domain, error.strerror)
        else:
            os.ftruncate(descriptor, end)
            _log.error("%s: corrections cannot be kept: the disk is full", domain)
        raise CorrectionsFullError("corrections cannot be kept: there is no room for them on the server's disk")

    @contextmanager
    def _opened(self, domain: str) -> Iterator[tuple[int, _Known]]:
        """The file of a domain, locked, and what is in it."""
        assert self._folder is not None
        path = self._folder / f"{domain}{ENDING}"
        with self._lock:
            try:
                descriptor = _locked(path)
            except OSError as error:
                raise _unusable(path, error) from error
            try:
                status = os.fstat(descriptor)
                known = self._known.get(domain)
                if known is None or known.place != (status.st_dev, status.st_ino) or status.st_size < known.end:
                    known = _Known((status.st_dev, status.st_ino))
                if status.st_size > known.end:
                    _catch_up(path, descriptor, known)
                self._known[domain] = known
                yield descriptor, known
            finally:
                os.close(descriptor)


def _locked(path: Path) -> int:
    """The file that has this name now, open and locked until it is closed."""
    while True:
        is_new = not path.exists()
        descriptor = os.open(path, _FLAGS, _MODE)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                if is_new:
                    sync_directory(path.parent)
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # it was moved away in the meantime


def _catch_up(path: Path, descriptor: int, known: _Known) -> None:
    """Read what follows what is known; cut off a last line without its end, which a crash left."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(known.end)
        for line in file:
            if not line.endswith(b"\n"):
                os.ftruncate(descriptor, known.end)
                os.fsync(descriptor)
                _log.warning("%s: %d bytes of an unfinished line were cut off", path, len(line))
                break
            correction = Correction.parse(line, f"{path}:{known.lines + 1}")
            known.identities.add(identity(correction.source, correction.target))
            known.lines += 1
            known.end += len(line)


def _unusable(path: Path, error: OSError) -> FmallocError:
    return FmallocError(f"{path}: corrections cannot be kept there: {error.strerror or error}")
