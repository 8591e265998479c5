"""Rounds in which every model translates the same text in turn, until chance has little left to say."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fmalloc_export.bench.runner import Decoded, Timed

# Fewer say nothing about chance.
LEAST_ROUNDS = 3
# As few as leave a model's weights in the caches for most of its turn.
LINES_IN_TURN = 4


class Translating(Protocol):
    """A Runner, or what passes on to one."""

    def translate(self, lines: Sequence[str], batch: int) -> Timed:
        """As Runner.translate."""
        ...

    def decode(self, lines: Sequence[str], batch: int) -> Decoded:
        """As Runner.decode."""
        ...


@dataclass
class Measured:
    """What one model took: `single` has the seconds of each sentence alone, `batched` of all in batches, per round.

    `decoded`: of all in batches, from tokens to tokens, with the tokens of every sentence.
    """

    single: list[list[float]] = field(default_factory=list)
    batched: list[float] = field(default_factory=list)
    decoded: list[Decoded] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def rounds(self) -> list[list[float]]:
        """Seconds per round, of each way that was measured."""
        decoded = [sum(found.seconds) for found in self.decoded]
        return [series for series in ([sum(seconds) for seconds in self.single], self.batched, decoded) if series]


def measure(
    runners: Sequence[Translating],
    lines: Sequence[str],
    *,
    batch: int,
    single: bool,
    batched: bool,
    decoded: bool = False,
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
        if single:
            for found, timed in zip(measured, _alone(runners, lines, number), strict=True):
                found.texts = timed.texts
                if number:
                    found.single.append(timed.seconds)
        for index in _order(len(runners), number):
            runner, found = runners[index], measured[index]
            if batched:
                timed = runner.translate(lines, batch)
                found.texts = found.texts or timed.texts
                if number:
                    found.batched.append(sum(timed.seconds))
            if decoded:
                tokens = runner.decode(lines, batch)
                if number:
                    found.decoded.append(tokens)
        widest = max((half_width(series) for found in measured for series in found.rounds()), default=math.inf)
        advance(1, note=f"± {widest:.1%}" if math.isfinite(widest) else "")
        over = time.monotonic() - began >= seconds
        if number >= LEAST_ROUNDS and (widest <= spread or over):
            return measured
        number += 1


def _alone(runners: Sequence[Translating], lines: Sequence[str], number: int) -> list[Timed]:
    """Each line alone; models take turns every few lines, so that what else the machine does for seconds hits all."""
    found = [Timed([], []) for _ in runners]
    for turn, start in enumerate(range(0, len(lines), LINES_IN_TURN)):
        for index in _order(len(runners), number + turn):
            timed = runners[index].translate(lines[start : start + LINES_IN_TURN], 1)
            found[index].texts.extend(timed.texts)
            found[index].seconds.extend(timed.seconds)
    return found


def _order(count: int, first: int) -> list[int]:
    return [(place + first) % count for place in range(count)]


def half_width(series: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean, relative to it, by the normal approximation; infinite for fewer than 2."""
    if len(series) < 2:
        return math.inf
    return 1.96 * statistics.stdev(series) / math.sqrt(len(series)) / statistics.fmean(series)
