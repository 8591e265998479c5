"""What goes on beside a fault: a steady load, and a look at the server's memory."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event

import psutil

from benchmarks.serving.beside import beside
from benchmarks.serving.load import Call, Outcome, closed_loop
from benchmarks.serving.process import Server
from benchmarks.soak.phase import Record

# Growth of the resident size that is no leak: buffers of the engine grow with the largest batch that it has seen. That
# is over after the first repeat; what is left then is fragmentation.
GROWTH_MB = 64.0
LEAK_MB = 16.0
_SAMPLE_SECONDS = 0.02
_IDLE_SECONDS = 60.0


@dataclass
class Memory:
    """Resident size in MB, the largest that was seen."""

    peak: float


@contextmanager
def steady(
    server: Server, record: Record, calls: Iterable[Call], at_once: int = 2, allowed: Iterable[int] = (200,)
) -> Iterator[None]:
    """Ask `calls` over and over, so many at once, until the block ends; then judge every answer."""
    outcomes: list[Outcome] = []

    def ask(ended: Event) -> None:
        endless = itertools.takewhile(lambda _: not ended.is_set(), itertools.cycle(calls))
        outcomes.extend(closed_loop(server.url, endless, at_once))

    try:
        with beside(ask):
            yield
    finally:
        record.judge(outcomes, allowed)


@contextmanager
def watched(server: Server) -> Iterator[Memory]:
    """The peak of the server's memory inside the block."""
    memory = Memory(server.resident_mb())

    def sample(ended: Event) -> None:
        with suppress(psutil.NoSuchProcess):
            while not ended.wait(_SAMPLE_SECONDS):
                memory.peak = max(memory.peak, server.resident_mb())

    with beside(sample):
        yield memory


def repeat(server: Server, record: Record, calls: Iterable[Call], work: Callable[[int], None], times: int = 2) -> None:
    """Warm the server with `calls`, do the `work` (told its turn) so many times, and see what memory it kept."""
    record.judge(closed_loop(server.url, list(calls), 8))
    before, after, peaks = server.resident_mb(), [], []
    for turn in range(times):
        with watched(server) as memory:
            work(turn)
            await_idle(server, record)
        peaks.append(memory.peak)
        after.append(server.resident_mb())
    record.judge(closed_loop(server.url, list(calls), 8))
    record.facts["resident_mb"] = {"before": before, "peaks": peaks, "after": after}
    record.check(f"memory grows by at most {GROWTH_MB:g} MB", after[-1] - before <= GROWTH_MB, (before, after))
    record.check(f"and at most {LEAK_MB:g} MB from repeat to repeat", after[-1] - after[0] <= LEAK_MB, after)
    record.look_back(server)


def await_idle(server: Server, record: Record) -> None:
    """Wait until nothing is in flight, which is soon."""
    names = ("fmalloc_in_flight_characters", "fmalloc_queued_sentences")
    idle = until(lambda: not any(map(server.metrics().get, names)), _IDLE_SECONDS)
    record.check("nothing stays in flight", idle is not None, {name: server.metrics()[name] for name in names})


def until(condition: Callable[[], bool], seconds: float) -> float | None:
    """Seconds until the condition came true; None if it did not in so many."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.02)
    return time.monotonic() - began
