"""Phases in which clients try to keep the server from answering anybody: heavy texts, and bodies byte by byte."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from benchmarks.serving.process import Server
from benchmarks.soak.background import await_idle
from benchmarks.soak.phase import Record, Setting
from benchmarks.soak.raw import Reply, head, send
from fmalloc_runtime.access.keys import add_key

LIVE_SECONDS = 0.5
_AT_ONCE = 3
_TEXT = 200_000  # the limit of characters per request
# Its client waits no longer: reading them is over by then, translation goes on until the server notices.
_PATIENCE = 5.0
_HEAVY: Mapping[str, tuple[str, str]] = {
    "raw element that never ends": ("html", "<xmp></xmp "),
    "declarations": ("html", "<!a ["),
    "paragraphs": ("html", "<p>a"),
    "tags in words": ("html", "<b>a</b>"),
    "elements that are kept": ("html", "<code>a"),
    "entities": ("xml", "&amp;a "),
    "braces": ("text", "{0} {a} "),
    "half a placeholder": ("text", "{0:.2f "),
    "numbers": ("text", "1.2, 3 a "),
    "one word": ("text", "a"),
    "unknown signs": ("text", "→a "),
    "marks": ("text", "e\u0301"),
    "sentences": ("text", "a. "),
    "sentences without spaces": ("text", "日本。"),
}
_PIECES = 200_000
_BODIES = 20
_ERROR_BYTES = 8_000


def heavy_texts(setting: Setting, record: Record) -> None:
    """Three texts at once that take as long as texts can, of each kind: /livez answers in half a second."""
    slowest = {}
    with setting.serve() as server:
        for kind, (format_, unit) in _HEAVY.items():
            text = (unit * (_TEXT // len(unit) + 1))[:_TEXT]
            fields = {"text": text, "format": format_, "beam_size": 1, "max_length": 3, "domain": "general"}
            with _alive(server, record) as waits:
                statuses = asyncio.run(_all(server.url, [_post("/v1/translate", fields)] * _AT_ONCE))
            record.check("heavy texts are answered or cut off", set(statuses) <= {0, 200, 429}, statuses)
            record.count({status: count for status, count in statuses.items() if status})
            slowest[kind] = round(max(waits), 3)
            await_idle(server, record)
    record.facts["livez_seconds"] = slowest


def tiny_pieces(setting: Setting, record: Record) -> None:
    """Bodies byte by byte without a key, and fields that are all wrong: refused soon and shortly, /livez answers."""
    keys = setting.work / "keys.json"
    keys.unlink(missing_ok=True)
    add_key(keys, "client", {})
    with setting.serve("--keys", keys) as server, _alive(server, record) as waits:
        for path in ("/translate", "/v1/translate", "/v2/models/general/infer"):
            start = head("POST", path, ["Content-Type: application/json", "Transfer-Encoding: chunked"])
            statuses = asyncio.run(_all(server.url, [start + b"1\r\n \r\n" * _PIECES + b"0\r\n\r\n"] * _BODIES))
            record.check("bodies byte by byte are refused", set(statuses) <= {0, 400, 403, 408}, statuses)
            record.count({status: count for status, count in statuses.items() if status})
    record.facts["livez_seconds"] = {"bodies byte by byte": round(max(waits), 3)}
    tensor = {"name": "text", "datatype": "BYTES", "shape": [9_000], "data": [1] * 9_000}
    with setting.serve("--keys", keys) as server:
        answer = asyncio.run(send(server.url, _post("/v2/models/general/infer", {"inputs": [tensor]}), _PATIENCE))
        record.check("without a key nothing is checked", answer.status == 403, answer.status)
    with setting.serve() as server:
        answer = asyncio.run(send(server.url, _post("/v2/models/general/infer", {"inputs": [tensor]}), _PATIENCE))
        record.check("errors are short", answer.status == 400 and len(answer.body) <= _ERROR_BYTES, len(answer.body))
    record.facts["error_bytes"] = len(answer.body)


@contextmanager
def _alive(server: Server, record: Record) -> Iterator[list[float]]:
    """Ask /livez over and over inside the block; the seconds that each answer took."""
    ended = Event()
    waits = [0.0]

    def ask() -> None:
        while not ended.wait(0.02):
            began = time.monotonic()
            server.get("/livez")
            waits.append(time.monotonic() - began)

    thread = Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()
        record.check(f"/livez answers within {LIVE_SECONDS:g} s", max(waits) <= LIVE_SECONDS, round(max(waits), 3))


async def _all(url: str, messages: Sequence[bytes]) -> Counter[int]:
    """Send all at once; the statuses of the answers, 0 for none in time."""
    replies: list[Reply] = await asyncio.gather(*(send(url, message, _PATIENCE) for message in messages))
    return Counter(reply.status for reply in replies)


def _post(path: str, fields: Mapping[str, object]) -> bytes:
    body = json.dumps(fields).encode()
    return head("POST", path, ["Content-Type: application/json", f"Content-Length: {len(body)}"]) + body
