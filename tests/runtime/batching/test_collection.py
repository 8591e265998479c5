"""No garbage is collected beside long work, and all of it afterwards."""

import gc
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from fmalloc_runtime.batching import collection
from fmalloc_runtime.batching.collection import uncollected


@pytest.fixture(autouse=True)
def collecting() -> None:
    """What went before has ended."""
    wait_for(gc.isenabled)


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    assert condition()


class Cycle:
    """An object that only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_blocks_of_several_threads_end_together() -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with uncollected():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=work)
    with uncollected():
        thread.start()
        inside.wait(10)
        with uncollected():
            assert not gc.isenabled()
    assert not gc.isenabled()
    leave.set()
    thread.join()
    wait_for(gc.isenabled)


def test_it_is_enabled_again_after_an_error_that_holds_the_work() -> None:
    with pytest.raises(ValueError, match="no"), uncollected():
        raise ValueError("no")
    assert not gc.isenabled()
    wait_for(gc.isenabled)


def test_blocks_one_after_another_do_not_put_it_off_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_MOST_SECONDS", 0.2)
    gone, ends = weakref.ref(Cycle()), time.monotonic() + 10
    while gone() is not None and time.monotonic() < ends:
        with uncollected():
            assert not gc.isenabled()
    assert gone() is None


def test_garbage_is_collected_where_work_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_MOST_SECONDS", 0.0)
    with uncollected():
        with uncollected():
            gone = weakref.ref(Cycle())
            assert gone() is not None
        assert gone() is None and not gc.isenabled()
