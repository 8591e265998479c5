"""API keys: a file of names, limits and SHA-256 digests. A key itself is shown once and not stored.

A key is 256 random bits, so a plain digest is enough: slow password hashes guard against trying all keys, which is
impossible here, and would let anybody keep the server busy with wrong keys.
"""

import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import Field, model_validator

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_private
from fmalloc_shared.strict import Digest, StrictModel

_log = logging.getLogger(__name__)
_PREFIX = "fm-"
_KEY_BYTES = 32
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_POLL_SECONDS = 1.0
_Stamp = tuple[int, int, int]

ClientName = Annotated[str, Field(pattern=_NAME)]
Limit = Annotated[int, Field(ge=1)]


class KeyEntry(StrictModel):
    """A client: the digest of its key, and limits that differ from the server's; `characters` per month."""

    name: ClientName
    sha256: Digest
    requests_per_minute: Limit | None = None
    characters_per_minute: Limit | None = None
    characters: Limit | None = None


class KeyFile(StrictModel):
    """The file of keys; each client has one entry."""

    version: Literal[1] = 1
    keys: tuple[KeyEntry, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> "KeyFile":
        for what, values in (("name", [key.name for key in self.keys]), ("sha256", [key.sha256 for key in self.keys])):
            if twice := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"{what} {twice[0]!r} occurs twice: expected it once")
        return self

    def find(self, key: str) -> KeyEntry | None:
        """The entry of a key, in constant time: timing does not reveal how much of a wrong key is right."""
        digest, found = digest_of(key), None
        for entry in self.keys:
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        return found


class Keys:
    """The keys of a file, read again when it changes. If it is then malformed, the keys stay as they were."""

    def __init__(self, path: Path) -> None:
        """Read the file; FmallocError if it is missing or malformed."""
        self._path = path
        self._stamp = _stamp(path)
        self._file = KeyFile.read(path)
        self._looked = time.monotonic()

    def find(self, key: str) -> KeyEntry | None:
        """The entry of a key, None if it is unknown."""
        return self.current().find(key)

    def current(self) -> KeyFile:
        """The file's content, at most a second old."""
        if time.monotonic() - self._looked >= _POLL_SECONDS:
            self._looked = time.monotonic()
            if (stamp := _stamp(self._path)) != self._stamp:
                self._stamp = stamp
                self._reload()
        return self._file

    def _reload(self) -> None:
        try:
            self._file = KeyFile.read(self._path)
        except FmallocError as error:
            _log.error("keys were not reloaded: %s", error)
        else:
            _log.info("%d keys read from %s", len(self._file.keys), self._path)


def add_key(path: Path, name: str, limits: Mapping[str, int | None]) -> str:
    """Add a client, with its `limits` as in KeyEntry, and return its key; the file is created if it is missing.

    Raises FmallocError if the name is taken or malformed.
    """
    if not re.fullmatch(_NAME, name):
        raise FmallocError(f"name {name!r}: use 1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-', first a letter or digit")
    key = f"{_PREFIX}{secrets.token_urlsafe(_KEY_BYTES)}"
    with _edited(path) as file:
        if any(entry.name == name for entry in file.keys):
            raise FmallocError(f"{path}: a key named {name!r} exists already: remove it first, or use another name")
        entry = KeyEntry(name=name, sha256=digest_of(key), **limits)
        write_private(path, KeyFile(keys=(*file.keys, entry)).to_bytes())
    return key


def remove_key(path: Path, name: str) -> None:
    """Remove a client; FmallocError if it is unknown."""
    with _edited(path) as file:
        left = tuple(entry for entry in file.keys if entry.name != name)
        if len(left) == len(file.keys):
            known = ", ".join(entry.name for entry in file.keys) or "none"
            raise FmallocError(f"{path}: no key is named {name!r}: known are {known}")
        write_private(path, KeyFile(keys=left).to_bytes())


def digest_of(key: str) -> str:
    """SHA-256 of a key in hex, as in the file."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _edited(path: Path) -> Iterator[KeyFile]:
    """The file's content, locked against other editors."""
    with FileLock(path.parent / f".{path.name}.lock"):
        yield KeyFile.read(path) if path.exists() else KeyFile()


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)
