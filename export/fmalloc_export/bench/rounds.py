"""Rounds in which every model translates the same text in turn, until chance has little left to say."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fmalloc_export.bench.runner import Runner

# Fewer say nothing about chance.
LEAST_ROUNDS = 3


@dataclass
class Measured:
    """What one model took: `single` has the seconds of each sentence alone, `batched` of all in batches, per round."""

    single: list[list[float]] = field(default_factory=list)
    batched: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def rounds(self) -> list[list[float]]:
        """Seconds per round, of each way that was measured."""
        return [series for series in ([sum(seconds) for seconds in self.single], self.batched) if series]


def measure(
    runners: Sequence[Runner],
    lines: Sequence[str],
    *,
    batch: int,
    single: bool,
    batched: bool,
    spread: float,
    seconds: float,
    advance: Callable[..., None],
) -> list[Measured]:
    """Measure all in turn, each round beginning with another one, until `spread` or the time is reached.

    `spread`: half of the 95 % interval of a mean over rounds, relative to the mean, of whatever varies most. The first
    round is not counted; `advance` is called after each.
    """
    measured = [Measured() for _ in runners]
    began = time.monotonic()
    number = 0
    while True:
        for place in range(len(runners)):
            index = (place + number) % len(runners)
            runner, found = runners[index], measured[index]
            if single:
                timed = runner.translate(lines, 1)
                found.texts = timed.texts
                if number:
                    found.single.append(timed.seconds)
            if batched:
                timed = runner.translate(lines, batch)
                found.texts = found.texts or timed.texts
                if number:
                    found.batched.append(sum(timed.seconds))
        widest = max((half_width(series) for found in measured for series in found.rounds()), default=math.inf)
        advance(1, note=f"± {widest:.1%}" if math.isfinite(widest) else "")
        over = time.monotonic() - began >= seconds
        if number >= LEAST_ROUNDS and (widest <= spread or over):
            return measured
        number += 1


def half_width(series: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean, relative to it, by the normal approximation; infinite for fewer than 2."""
    if len(series) < 2:
        return math.inf
    return 1.96 * statistics.stdev(series) / math.sqrt(len(series)) / statistics.fmean(series)
