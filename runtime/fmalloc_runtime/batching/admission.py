"""Admission control: limits the work in flight, and refuses what exceeds it before it costs anything."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fmalloc_runtime.errors import OverloadedError
from fmalloc_runtime.metrics import Metrics

# The least that a request counts for: connection, buffers and task take memory however short the text is.
MINIMUM_CHARACTERS = 512
# The rate of answers is a decaying average with this half-life.
_HALF_LIFE = 10.0
_SHORTEST_RETRY, _LONGEST_RETRY = 1.0, 60.0


class Admission:
    """Limits the characters in flight: admitted and not yet answered. Safe to use from several threads.

    A single request is always admitted, whatever its size: the length of texts has another limit.
    """

    def __init__(
        self, limit_characters: int, metrics: Metrics | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit_characters
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight = 0
        self._answered = 0.0  # characters, decaying
        self._observed = 0.0  # seconds with work in flight, decaying alike
        self._at = clock()

    @property
    def in_flight(self) -> int:
        """Characters admitted and not yet answered; a short request counts as MINIMUM_CHARACTERS."""
        return self._in_flight

    @contextmanager
    def admit(self, characters: int) -> Iterator[None]:
        """Count `characters` as in flight inside the block; OverloadedError if they are too many."""
        weight = max(characters, MINIMUM_CHARACTERS)
        with self._lock:
            self._decay()
            if self._in_flight and self._in_flight + weight > self._limit:
                self._metrics.refused.labels("overloaded").inc()
                raise OverloadedError(
                    f"{self._in_flight} characters are being translated, the limit is {self._limit}: "
                    "send this request again later",
                    self._retry_after(self._in_flight + weight - self._limit),
                )
            self._count(weight)
        answered = False
        try:
            yield
            answered = True
        finally:
            with self._lock:
                self._decay()
                self._count(-weight)
                self._answered += weight if answered else 0

    def _count(self, weight: int) -> None:
        self._in_flight += weight
        self._metrics.in_flight.set(self._in_flight)

    def _decay(self) -> None:
        """Let time pass; seconds without work in flight do not count towards the rate."""
        now = self._clock()
        elapsed, self._at = now - self._at, now
        factor = 0.5 ** (elapsed / _HALF_LIFE)
        self._answered *= factor
        self._observed *= factor
        if self._in_flight:
            self._observed += elapsed

    def _retry_after(self, excess: int) -> float:
        """Seconds until `excess` characters are answered at the current rate, rounded up."""
        if not self._answered:
            return _SHORTEST_RETRY
        seconds = excess * self._observed / self._answered
        return float(min(max(math.ceil(seconds), _SHORTEST_RETRY), _LONGEST_RETRY))
