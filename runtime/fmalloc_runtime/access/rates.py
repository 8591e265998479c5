"""Rate limits: requests and characters per minute."""

import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter

from fmalloc_runtime.errors import BodyTooLargeError, RateLimitedError


class Rates:
    """Requests and characters of each client in the last minute, in memory.

    Requests are counted exactly, in a moving window. Characters are counted in a sliding window between two counters,
    which takes those of the minute before as evenly spread.
    """

    def __init__(self) -> None:
        storage = MemoryStorage()
        self._requests = MovingWindowRateLimiter(storage)
        self._characters = SlidingWindowCounterRateLimiter(storage)

    def take(self, client: str, characters: int, requests_limit: int | None, characters_limit: int | None) -> None:
        """Count one request with so many characters; RateLimitedError, and nothing is counted, beyond a limit.

        Raises BodyTooLargeError for more characters than are allowed per minute, for which no waiting helps.
        """
        if characters_limit is not None and characters > characters_limit:
            raise BodyTooLargeError(f"{characters} characters in one request, at most {characters_limit} per minute")
        wanted: list[tuple[RateLimiter, RateLimitItem, int, str]] = []
        if requests_limit is not None:
            wanted.append((self._requests, RateLimitItemPerMinute(requests_limit), 1, "requests"))
        if characters_limit is not None and characters:
            wanted.append((self._characters, RateLimitItemPerMinute(characters_limit), characters, "characters"))
        for limiter, item, cost, what in wanted:
            if not limiter.test(item, what, client, cost=cost):
                reset = limiter.get_window_stats(item, what, client).reset_time
                after = float(min(max(1, math.ceil(reset - time.time())), 60))
                raise RateLimitedError(f"more than {item.amount} {what} per minute: wait {after:.0f} seconds", after)
        for limiter, item, cost, what in wanted:
            limiter.hit(item, what, client, cost=cost)
