"""The soak's own parts: what it counts as wrong, what it sends, what it understands of answers."""

import asyncio
from collections.abc import Mapping
from itertools import islice

import pytest

from benchmarks.serving.load import Call, Outcome
from benchmarks.soak.fuzz import BODIES, messages
from benchmarks.soak.phase import Record
from benchmarks.soak.raw import NO_REPLY, Reply, message, read_reply
from benchmarks.soak.truth import Truth

CALL = Call(0, "/translate", {"q": "Hallo.", "domain": "it"})
TRUTH = Truth((CALL,), {'/translate {"domain": "it", "q": "Hallo."}': {"it@1": ["Hello."], "it@2": ["Hi."]}})


@pytest.mark.parametrize(
    ("text", "bundle", "right"),
    [("Hello.", "it@1", True), ("Hi.", "it@2", True), ("Hi.", "it@1", False), ("Hello.", "it@3", False)],
)
def test_a_translation_is_right_for_the_bundle_that_it_names(text: str, bundle: str, right: bool) -> None:
    record = Record(TRUTH)
    record.judge([outcome(200, {"translatedText": text, "domain": {"bundle": bundle}})])
    report = record.report()
    assert report["wrong"] == (not right)
    assert report["passed"] is right


@pytest.mark.parametrize(
    ("status", "retry_after", "allowed", "passes"),
    [
        (500, None, {500}, False),
        (503, None, {503}, True),
        (503, None, set(), False),
        (429, "1", {429}, True),
        (429, None, {429}, False),
        (0, None, set(), False),
    ],
)
def test_statuses_are_those_that_are_announced(
    status: int, retry_after: str | None, allowed: set[int], passes: bool
) -> None:
    record = Record(TRUTH)
    assert record.judge([outcome(status, {"error": ""}, retry_after)], allowed)[status] == 1
    report = record.report()
    assert report["passed"] is passes
    assert report["unannounced"] == (status == 500)


def test_a_check_that_failed_once_has_failed() -> None:
    record = Record(TRUTH)
    for met in (True, False, True):
        record.check("it holds", met, "why")
    assert record.report()["not_met"] == {"it holds": ["why"]}


def test_the_fuzzer_sends_the_same_for_a_seed_and_reaches_every_operation() -> None:
    sent = list(islice(messages(1), 4000))
    assert sent == list(islice(messages(1), 4000))
    assert sent != list(islice(messages(2), 4000))
    for path in BODIES:
        assert sum(f"POST {path} ".encode() in each for each in sent) > 100


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"HTTP/1.1 429 No\r\nRetry-After: 2\r\nContent-Length: 2\r\n\r\n{}", Reply(429, {"retry-after": "2"}, b"{}")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Reply(200, {}, b"")),
        (b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\nwhy", Reply(400, {}, b"why")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", NO_REPLY),
        (b"", NO_REPLY),
    ],
)
def test_answers_are_read_whole_or_not_at_all(received: bytes, expected: Reply) -> None:
    async def read() -> Reply:
        reader = asyncio.StreamReader()
        reader.feed_data(received)
        reader.feed_eof()
        return await read_reply(reader)

    found = asyncio.run(read())
    assert (found.status, found.body) == (expected.status, expected.body)
    assert expected.headers.items() <= found.headers.items()


def test_a_request_is_one_that_servers_understand() -> None:
    head, _, body = message(CALL).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /translate HTTP/1.1\r\nHost: ") and b"Connection: close" in head
    assert f"Content-Length: {len(body)}".encode() in head


def outcome(status: int, answer: Mapping[str, object], retry_after: str | None = None) -> Outcome:
    return Outcome(CALL, status, 0.1, 0.1, answer, retry_after)
