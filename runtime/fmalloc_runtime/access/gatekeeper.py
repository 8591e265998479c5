"""Who may come in, how often and with how much text."""

from dataclasses import dataclass

from fmalloc_runtime.access.keys import KeyEntry, Keys
from fmalloc_runtime.access.rates import Rates
from fmalloc_runtime.access.usage import UsageLedger
from fmalloc_runtime.errors import QuotaExceededError, RateLimitedError, RequestError, UnauthorizedError
from fmalloc_runtime.logs import note
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.settings import Settings

ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class Usage:
    """Characters that a client sent this month, and how many it may; None: as many as it likes."""

    characters: int
    limit: int | None


class Gatekeeper:
    """Checks keys, rates and quotas. Without keys everybody is one client, so that addresses need not be kept."""

    def __init__(self, keys: Keys | None, settings: Settings, metrics: Metrics) -> None:
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._rates = Rates()
        self._usage = UsageLedger(settings.usage)

    def enter(self, credential: str | None, characters: int) -> str:
        """Count a request of so many characters to translate; the client's name.

        Raises UnauthorizedError, RateLimitedError, QuotaExceededError, or BodyTooLargeError for what no minute has
        room for; nothing is counted then.
        """
        try:
            return self._enter(self._identify(credential), characters)
        except RequestError as error:
            self._metrics.refused.labels(_reason(error)).inc()
            raise

    def give_back(self, client: str, characters: int) -> None:
        """Take characters off a client's month that were counted and then not translated."""
        self._usage.add(client, -characters)

    def usage(self, credential: str | None) -> Usage:
        """What a client has used this month. Raises UnauthorizedError."""
        entry = self._identify(credential)
        name, limit = (entry.name, entry.characters) if entry else (ANONYMOUS, None)
        return Usage(self._usage.characters(name), limit)

    def close(self) -> None:
        """Keep what was counted."""
        self._usage.flush()

    def _identify(self, credential: str | None) -> KeyEntry | None:
        if self._keys is None:
            return None
        if not credential:
            raise UnauthorizedError("no API key: ask the server's operator for one")
        entry = self._keys.find(credential)
        if entry is None:
            raise UnauthorizedError("the API key is not known here")
        return entry

    def _enter(self, entry: KeyEntry | None, characters: int) -> str:
        name = entry.name if entry else ANONYMOUS
        note(client=name, characters=characters)
        settings = self._settings
        requests_limit = (entry and entry.requests_per_minute) or settings.requests_per_minute
        characters_limit = (entry and entry.characters_per_minute) or settings.characters_per_minute
        quota = entry.characters if entry else None
        used = self._usage.characters(name)
        if quota is not None and used + characters > quota:
            raise QuotaExceededError(
                f"{used} of {quota} characters are used this month, {characters} more are too many"
            )
        self._rates.take(name, characters, requests_limit, characters_limit)
        self._usage.add(name, characters)
        return name


def _reason(error: RequestError) -> str:
    return {UnauthorizedError: "key", RateLimitedError: "rate", QuotaExceededError: "quota"}.get(type(error), "size")
