"""A bound on the characters in flight, and when to come again."""

import threading
from contextlib import ExitStack

import pytest

from fmalloc_runtime.batching.admission import MINIMUM_CHARACTERS, Admission
from fmalloc_runtime.errors import OverloadedError
from fmalloc_runtime.metrics import Metrics

LIMIT = 10_000


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_over_the_bound_is_refused_until_something_is_answered() -> None:
    metrics = Metrics()
    admission = Admission(LIMIT, metrics)
    with admission.admit(6_000):
        with admission.admit(4_000):
            assert admission.in_flight == LIMIT
            with pytest.raises(OverloadedError, match="10000 characters .* the limit is 10000"):
                admission.admit(1).__enter__()
            assert metrics.registry.get_sample_value("fmalloc_in_flight_characters") == LIMIT
        with admission.admit(4_000):
            pass
    assert admission.in_flight == 0
    assert metrics.registry.get_sample_value("fmalloc_refused_total", {"reason": "overloaded"}) == 1
    assert metrics.registry.get_sample_value("fmalloc_in_flight_characters") == 0


def test_a_request_alone_is_admitted_whatever_its_size() -> None:
    admission = Admission(LIMIT)
    with admission.admit(50 * LIMIT), pytest.raises(OverloadedError):
        admission.admit(1).__enter__()


def test_short_requests_are_bounded_in_number() -> None:
    admission = Admission(LIMIT)
    with ExitStack() as all_of_them:
        with pytest.raises(OverloadedError):
            for _ in range(LIMIT):
                all_of_them.enter_context(admission.admit(0))
        assert admission.in_flight == LIMIT // MINIMUM_CHARACTERS * MINIMUM_CHARACTERS


def test_what_fails_or_is_cancelled_is_given_back() -> None:
    admission = Admission(LIMIT)
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), admission.admit(5_000):
            raise error
    assert admission.in_flight == 0


def test_come_again_when_the_excess_will_be_answered() -> None:
    clock = Clock()
    admission = Admission(LIMIT, clock=clock)
    for _ in range(20):  # 2,000 characters a second; idle seconds between tell nothing
        with admission.admit(4_000):
            clock.now += 2
        clock.now += 3
    with admission.admit(LIMIT):
        for size, seconds in ((600, 1), (10_000, 5), (1_000_000, 60)):
            with pytest.raises(OverloadedError) as refused:
                admission.admit(size).__enter__()
            assert refused.value.retry_after == seconds


def test_a_server_that_answers_nothing_is_asked_again_rather_soon() -> None:
    admission = Admission(LIMIT, clock=Clock())
    with admission.admit(LIMIT), pytest.raises(OverloadedError) as refused:
        admission.admit(LIMIT).__enter__()
    assert refused.value.retry_after == 1


def test_threads_never_pass_the_bound_together() -> None:
    admission = Admission(LIMIT)
    start = threading.Barrier(8)
    seen = []

    def ask() -> None:
        start.wait()
        for _ in range(300):
            try:
                with admission.admit(3_000):
                    seen.append(admission.in_flight)
            except OverloadedError:
                pass

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < max(seen) <= LIMIT
    assert admission.in_flight == 0
