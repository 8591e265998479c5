"""Garbage collection, whose pauses stop the whole process, kept away from work that makes very many objects."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Where such work never ends, garbage is collected all the same.
_MOST_SECONDS = 60.0
_GRACE_SECONDS = 0.1
_lock = threading.Lock()
_running = 0
_collected = 0.0


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection, which would traverse the objects of the work in this block again and again.

    Collection goes on soon after no such block is left, of any thread: an exception that leaves the last one still
    holds all of its objects. Almost all objects are freed without it.
    """
    global _running, _collected
    with _lock:
        if not _running and gc.isenabled():
            gc.disable()
            _collected = time.monotonic()
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                later = threading.Timer(_GRACE_SECONDS, _enable)
                later.daemon = True
                later.start()
            due = time.monotonic() - _collected > _MOST_SECONDS
            if due:
                _collected = time.monotonic()
        if due:
            gc.collect()


def _enable() -> None:
    with _lock:
        if not _running:
            gc.enable()
