"""Admits clients by key, rate and quota."""

from collections.abc import Iterator
from contextlib import contextmanager
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
    """Characters that a client has sent this month, and its monthly quota; None: unlimited."""

    characters: int
    limit: int | None


class Gatekeeper:
    """Checks keys, rates and quotas. Without keys all clients count as one, so that no addresses are kept."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Read keys and usage; FmallocError if a file is missing or malformed."""
        self._keys = Keys(settings.keys) if settings.keys else None
        self._settings = settings
        self._metrics = metrics
        self._rates = Rates()
        self._usage = UsageLedger(settings.usage)

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, metrics: Metrics) -> Iterator["Gatekeeper"]:
        """A gatekeeper whose counts are kept when the block is left."""
        gate = cls(settings, metrics)
        try:
            yield gate
        finally:
            gate.close()

    def check(self, credential: str | None) -> None:
        """Raise UnauthorizedError without a known key where one is needed; nothing is counted."""
        with self._counted():
            self._identify(credential)

    def knows(self, credential: str | None) -> bool:
        """Whether the key is known, or none is needed."""
        return self._keys is None or (credential is not None and self._keys.find(credential) is not None)

    def enter(self, credential: str | None, characters: int) -> str:
        """Count a request with so many characters to translate, and return the client's name.

        Raises UnauthorizedError, RateLimitedError or QuotaExceededError, or BodyTooLargeError if the request exceeds
        the limit per minute by itself; nothing is counted then.
        """
        with self._counted():
            return self._enter(self._identify(credential), characters)

    def count(self, credential: str | None, characters: int) -> None:
        """Count characters of a request that was admitted before they were known; errors as of `enter`."""
        with self._counted():
            self._enter(self._identify(credential), characters, requests=False)

    def client(self, credential: str | None) -> str:
        """The name of a client; UnauthorizedError without a known key."""
        entry = self._identify(credential)
        return entry.name if entry else ANONYMOUS

    def give_back(self, client: str, characters: int) -> None:
        """Uncount characters that were not translated after all."""
        self._usage.add(client, -characters)

    def usage(self, credential: str | None) -> Usage:
        """What a client has used this month; UnauthorizedError without a known key."""
        entry = self._identify(credential)
        return Usage(self._usage.characters(entry.name if entry else ANONYMOUS), entry.characters if entry else None)

    def close(self) -> None:
        """Write the usage file, if there is one."""
        self._usage.flush()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count what is refused, by the reason."""
        try:
            yield
        except RequestError as error:
            self._metrics.refused.labels(_reason(error)).inc()
            raise

    def _identify(self, credential: str | None) -> KeyEntry | None:
        if self._keys is None:
            return None
        if not credential:
            raise UnauthorizedError("an API key is required: ask the server's operator for one")
        entry = self._keys.find(credential)
        if entry is None:
            raise UnauthorizedError("the API key is not known to this server")
        return entry

    def _enter(self, entry: KeyEntry | None, characters: int, *, requests: bool = True) -> str:
        name = entry.name if entry else ANONYMOUS
        note(client=name, characters=characters)
        settings = self._settings
        requests_limit = (entry and entry.requests_per_minute) or settings.requests_per_minute
        characters_limit = (entry and entry.characters_per_minute) or settings.characters_per_minute
        quota = entry.characters if entry else None
        used = self._usage.characters(name)
        if quota is not None and used + characters > quota:
            raise QuotaExceededError(
                f"{used} of {quota} characters are used this month: {characters} more exceed the quota"
            )
        self._rates.take(name, characters, requests_limit if requests else None, characters_limit)
        self._usage.add(name, characters)
        return name


def _reason(error: RequestError) -> str:
    return {UnauthorizedError: "key", RateLimitedError: "rate", QuotaExceededError: "quota"}.get(type(error), "size")
