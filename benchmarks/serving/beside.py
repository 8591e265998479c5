"""What goes on in a thread beside a block of measurements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def beside(work: Callable[[Event], object]) -> Iterator[None]:
    """Do `work` until it returns; the end of the block sets the event that it is given, and waits for it."""
    ended = Event()
    thread = Thread(target=work, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
