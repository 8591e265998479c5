"""Characters that each client has sent this month."""

import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_private
from fmalloc_shared.strict import StrictModel

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 10.0


class UsageFile(StrictModel):
    """Characters by client in one month (`2026-01`, UTC)."""

    version: Literal[1] = 1
    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]
    characters: dict[str, Annotated[int, Field(ge=0)]]


class UsageLedger:
    """Counts in memory; with a path, writes the counts there every ten seconds and at the end."""

    def __init__(self, path: Path | None) -> None:
        """Continue from the file, if there is one; FmallocError if it is malformed."""
        self._path = path
        self._month = _month()
        self._characters: dict[str, int] = {}
        self._flushed = time.monotonic()
        if path is not None and path.exists():
            kept = UsageFile.read(path)
            if kept.month == self._month:
                self._characters = dict(kept.characters)

    def characters(self, client: str) -> int:
        """Characters of a client in this month."""
        if (month := _month()) != self._month:
            self._month, self._characters = month, {}
        return self._characters.get(client, 0)

    def add(self, client: str, characters: int) -> None:
        """Add to a client's count. If the file cannot be written, that is logged and tried again later."""
        self._characters[client] = max(0, self.characters(client) + characters)
        if self._path is not None and time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the file, if there is a path."""
        self._flushed = time.monotonic()
        if self._path is None:
            return
        try:
            write_private(self._path, UsageFile(month=self._month, characters=self._characters).to_bytes())
        except (OSError, FmallocError) as error:
            _log.error("usage was not written: %s", error)


def _month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")
