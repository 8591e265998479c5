"""How much work the server takes at once; what is over the bound is refused before it costs anything."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fmalloc_runtime.errors import OverloadedError
from fmalloc_runtime.metrics import Metrics

# What a request weighs at least: a connection, its buffers and a task take memory however short the text is.
MINIMUM_CHARACTERS = 512
# The rate of answers is that of the last seconds, older ones fading by half in this time.
_HALF_LIFE = 10.0
_SHORTEST_RETRY, _LONGEST_RETRY = 1.0, 60.0


class Admission:
    """Bounds the characters in flight, admitted and not yet answered; safe to use from several threads.

    A request alone is always admitted, whatever its size: how long a text may be is another limit.
    """

    def __init__(
        self, limit_characters: int, metrics: Metrics | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit_characters
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight = 0
        self._answered = 0.0  # characters, fading
        self._observed = 0.0  # seconds with work in flight, fading alike
        self._at = clock()

    @property
    def in_flight(self) -> int:
        """Characters admitted and not yet answered; a short request counts as MINIMUM_CHARACTERS."""
        return self._in_flight

    @contextmanager
    def admit(self, characters: int) -> Iterator[None]:
        """Count `characters` as in flight inside the block.

        Raises OverloadedError, which says when to come again, if that is too many.
        """
        weight = max(characters, MINIMUM_CHARACTERS)
        with self._lock:
            self._fade()
            if self._in_flight and self._in_flight + weight > self._limit:
                self._metrics.refused.labels("overloaded").inc()
                raise OverloadedError(
                    f"{self._in_flight} characters are being translated and no more than {self._limit} are taken at "
                    "once: send this request again later",
                    self._retry_after(self._in_flight + weight - self._limit),
                )
            self._count(weight)
        answered = False
        try:
            yield
            answered = True
        finally:
            with self._lock:
                self._fade()
                self._count(-weight)
                self._answered += weight if answered else 0

    def _count(self, weight: int) -> None:
        self._in_flight += weight
        self._metrics.in_flight.set(self._in_flight)

    def _fade(self) -> None:
        """Let time pass; seconds without any work in flight say nothing about the rate."""
        now = self._clock()
        elapsed, self._at = now - self._at, now
        fading = 0.5 ** (elapsed / _HALF_LIFE)
        self._answered *= fading
        self._observed *= fading
        if self._in_flight:
            self._observed += elapsed

    def _retry_after(self, excess: int) -> float:
        """Seconds until `excess` characters will have been answered at the present rate, rounded up."""
        if not self._answered:
            return _SHORTEST_RETRY
        seconds = excess * self._observed / self._answered
        return float(min(max(math.ceil(seconds), _SHORTEST_RETRY), _LONGEST_RETRY))
