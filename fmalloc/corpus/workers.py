"""Processes that clean blocks of text while the next ones are read; results come in order."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import current_process, get_context, parent_process
from threading import Thread
from typing import TypeVar

from fmalloc_shared.errors import FmallocError

# One process reads for all of them, and is busy with eight.
_MOST = 8

Given = TypeVar("Given")
Found = TypeVar("Found")


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def applied(function: Callable[[Given], Found], items: Iterable[Given], *, shared: bool) -> Iterator[Found]:
    """`function` of each item in order; where it is `shared`, by as many processes as there are cores.

    Few items are under way at a time, so memory does not grow with their number. Function and items are pickled.

    Raises:
        FmallocError: a process was killed.
    """
    # A daemonic process, such as one of a pool of multiprocessing, may not start others.
    processes = min(_MOST, cores()) if shared and not current_process().daemon else 1
    if processes == 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin)
    waiting: deque[Future[Found]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise FmallocError("a process that cleaned text was killed; is there enough memory?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Ctrl-C is the parent's; a process whose parent was killed has nothing to wait for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
