"""Whether work takes time linear in the length of what it is given, measured so that other work does not matter."""

import time
from collections.abc import Callable
from typing import TypeVar

from fmalloc_runtime.batching.collection import uncollected

T = TypeVar("T")

SECONDS = 0.5
GROWTH = 2.3
# Shorter times say nothing about growth.
_LEAST_SECONDS = 0.06
# Of `_plain_work`, on a fast core that does nothing else: `most` means such a core.
_PLAIN_SECONDS = 0.04


def excess(
    made: Callable[[int], T],
    work: Callable[[T], object],
    longest: int,
    most: float = SECONDS,
    halvings: int = 3,
    growth: float = GROWTH,
) -> str:
    """What is wrong with the time that work takes on what is made in the longest length; empty if nothing is.

    Growth is per doubling, over several of them: where objects leave the processor's cache, one alone takes longer.
    What seems too slow is measured again, more often, and beside plain work: a processor that is slower, or shared with
    others, may take longer by as much.
    """
    found, slowness = "", 1.0
    for times in (1, 3, 6):
        whole, part = (_seconds(work, made(length), times) for length in (longest, longest // 2**halvings))
        if times > 1:
            slowness = max(1.0, _seconds(_plain_work, 100_000, times) / _PLAIN_SECONDS)
        if whole <= most * slowness and (whole < _LEAST_SECONDS or whole <= growth**halvings * part):
            return ""
        found = f"{whole:.3f} s, {whole / part:.2f} times that of 1/{2**halvings} of the length"
    return found


def _plain_work(count: int) -> object:
    """Numbers, texts and small objects."""
    return [(text, text.find("9"), {text: number}) for number in range(count) for text in [str(number)]]


def _seconds(work: Callable[[T], object], given: T, times: int) -> float:
    """CPU time, the best of so many."""
    best = float("inf")
    for _ in range(times):
        with uncollected():
            began = time.process_time()
            work(given)
            best = min(best, time.process_time() - began)
    return best
