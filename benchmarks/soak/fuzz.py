"""Requests that no client should send: broken HTTP, broken bodies, wrong values, and mutations of good ones."""

import gzip
import itertools
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from benchmarks.soak.raw import head

_JSON = "Content-Type: application/json"
_FORM = "Content-Type: application/x-www-form-urlencoded"
_TEXT = "Ein Test."
# A good body for every operation that takes one, with all fields that it knows.
BODIES: Mapping[str, Mapping[str, Any]] = {
    "/translate": {
        "q": _TEXT, "source": "auto", "target": "en", "format": "text", "alternatives": 0, "domain": "auto",
        "api_key": "",
    },
    "/detect": {"q": _TEXT, "api_key": ""},
    "/v2/translate": {
        "text": [_TEXT], "target_lang": "EN", "source_lang": "DE", "domain": "auto", "context": "", "auth_key": "",
        "split_sentences": "1", "preserve_formatting": False, "formality": "default", "tag_handling": "xml",
        "outline_detection": True, "splitting_tags": ["p"], "non_splitting_tags": ["b"], "ignore_tags": ["x"],
        "model_type": "latency_optimized", "show_billed_characters": True, "glossary_id": "",
    },
    "/v2/languages": {"type": "source"},
    "/v2/usage": {"auth_key": ""},
    "/v1/route": {"text": _TEXT, "domain": "auto", "format": "text"},
    "/v1/translate": {
        "text": _TEXT, "domain": "auto", "format": "text", "beam_size": 1, "max_length": 20, "alternatives": 0,
        "alignment": False, "split": "sentences", "protect": True, "ignore_tags": ["x"],
    },
    "/v2/models/general/infer": {
        "id": "1", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [_TEXT]}],
        "outputs": [{"name": "translation"}], "parameters": {},
    },
}  # fmt: skip
_PATHS = ("/", "/docs", "/languages", "/health", "/livez", "/readyz", "/metrics", "/openapi.json", "/v1/domains", "/v2")
# JSON as it is written, so that it can be what no encoder gives.
_VALUES = (
    "null", "true", "false", "0", "1", "-1", "1.5", "-0.0", "1e999", "NaN", "Infinity", "-Infinity", "1" * 5000,
    '"1"', '""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\uffff"', '"auto\\u200b"',
    '"' + "a" * 5000 + '"', '"' + "ä" * 300 + '"', "[]", "[null]", "[1]", '[""]', '[["a"]]', '["\\ud800"]',
    "[" + ",".join(['"x"'] * 60) + "]", "[" * 2000 + "]" * 2000, "{}", '{"a":1}', '{"a":{"a":{}}}', "'single'",
)  # fmt: skip
# Texts that are valid, and that nobody writes.
_TEXTS = (
    "\u0000\u0001\u0002\u001f", "\u200b" * 200, "e" + "\u0301" * 1000, "\u202e\u2066abc\u2069", "\ufeff\ufffe\uffff",
    "\r\n\t\v\f\u0085\u2028\u2029", "🏳️‍🌈" * 100, "a" * 5000, "9" * 3000, "%s %d %n %1$s %(a)s {0} {{}} ${x} " * 20,
    "<" * 500, "<b>" * 800, "</b>" * 500, "<b>" * 500 + "x" + "</b>" * 500, "<!--" * 300, "<![CDATA[" * 200,
    "&" * 500, "&#x110000;&#0;&#xd800;&nosuch;" * 50, "<a href='" + "x" * 2000, "<script>" + "x" * 1000,
    '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><x>&b;</x>', "<x id='1'></x>" * 200, "<p>a<p>b</div></p>",
    "http://" + "a." * 500, "a@b." * 300, "{" * 500, "{n, plural, one {# Datei} other {# Dateien}}" * 10,
    ". " * 500, "! ? … " * 200, "\n" * 1000,
)  # fmt: skip


def messages(seed: int) -> Iterator[bytes]:
    """All that is listed here once, then mutations of good requests for ever; the same ones for a seed."""
    draw = random.Random(seed)
    yield from broken_http(draw)
    yield from broken_bodies()
    yield from odd_values()
    yield from odd_texts()
    yield from mutations(draw)


def broken_http(draw: random.Random) -> Iterator[bytes]:
    """Bytes that are not HTTP, or that say two things at once."""
    body = _encoded("/translate")
    start = b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for size in (1, 10, 100, 10_000):
        yield draw.randbytes(size)
    yield b"\r\n" * 100
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(500)
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for line in (
        b"GET /", b"GET / HTTP/0.9", b"GET / HTTP/1.2", b"GET / HTTP/9.9", b"GET / HTTP/1.1 x", b"GET  / HTTP/1.1",
        b"get / HTTP/1.1", b"\xff\xfe / HTTP/1.1", b"GET /\xe4 HTTP/1.1", b"GET /%ff%fe%00 HTTP/1.1", b"GET * HTTP/1.1",
        b"GET http://a/b HTTP/1.1", b"GET /" + b"../" * 100 + b"etc/passwd HTTP/1.1", b"CONNECT a:80 HTTP/1.1",
        b"GET /static/%2e%2e/%2e%2e/etc/passwd HTTP/1.1", b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"TRACE / HTTP/1.1",
        b"GET /?" + b"a=b&" * 15_000 + b" HTTP/1.1", b"GET /v2/translate?text=%ff&target_lang=EN HTTP/1.1",
        b"GET /v2/models/%00/ready HTTP/1.1", b"GET /v2/models/" + b"%F0%9F%98%80" * 50 + b" HTTP/1.1",
    ):  # fmt: skip
        yield line + b"\r\nHost: x\r\nConnection: close\r\n\r\n"
    for header in (
        b"No colon", b": no name", b"A\x00b: c", b"A: b\x00c", b" folded: a", b"A: b\r\n folded", b"A : b",
        b"X: " + b"a" * 70_000,
        b"\r\n".join(b"X-%d: y" % number for number in range(3000)), b"Content-Length: -1", b"Content-Length: 1e3",
        b"Content-Length: " + b"9" * 30, b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 5, 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: \xff", b"Host: y", b"Expect: 100-continue\r\nContent-Length: 10", b"Expect: nonsense",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x", b"Upgrade: h2c\r\nConnection: Upgrade",
        b"X-Request-ID: " + b"\xff" * 300, b"Authorization: DeepL-Auth-Key \xff\xfe",
        b"Authorization: " + b"Bearer " * 500,
        b"Content-Encoding: gzip", b"Range: bytes=0-1,5-9,2-", b"If-Modified-Since: never", b"Accept: \xff",
    ):  # fmt: skip
        yield start + header + b"\r\nConnection: close\r\n\r\n" + body
    for chunks in (
        b"zz\r\nabc\r\n0\r\n\r\n", b"-1\r\na\r\n0\r\n\r\n", b"5\r\nabc", b"ffffffffffffffffffff\r\na",
        b"1;" + b"x" * 9000 + b"\r\na\r\n0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"1\r\n{\r\n" * 3000 + b"0\r\n\r\n", b"\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
    ):  # fmt: skip
        yield start + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    for cut in range(1, len(start + body), 7):
        yield (start + b"Content-Length: %d\r\n\r\n" % len(body) + body)[:cut]


def broken_bodies() -> Iterator[bytes]:
    """Bodies that are not what their content type says."""
    for path in BODIES:
        body = _encoded(path)
        text = body.decode()
        for content in (
            b"", b" ", b"{}", b"[]", b"null", b"1", b'"a"', b"{", b"}", b"\x00", b"{'a': 1}", b'{"a": 1,}',
            b"\xef\xbb\xbf" + body, body + body,
            text.encode("utf-16"), text.encode("utf-32"), body.replace(b"T", b"\xff"),
            body.replace(b"T", b"\xed\xa0\x80"),
            gzip.compress(body, mtime=0), b"[" * 100_000, b'{"a":' * 50_000, b"[" * 50_000 + b"]" * 50_000,
            b'{"a":' * 900 + b"1" + b"}" * 900,
            body[:-1] + b"," + body[1:], b'{"q":"a","q":"b","text":"a","text":"b"}', b'{"' + b"a" * 100_000 + b'":1}',
            b"{" + b",".join(b'"k%d":1' % number for number in range(20_000)) + b"}", b"1" * 100_000,
            b'"' + b"\\u0000" * 10_000 + b'"',
        ):  # fmt: skip
            yield _post(path, content)
        for kind in (
            "", "text/plain", "application/xml", "application/json; charset=utf-16", "application/json;" * 100, "\x7f",
            "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x",
            "application/octet-stream",
            "application/x-www-form-urlencoded; charset=latin-1", "application/x-www-form-urlencoded, application/json",
        ):  # fmt: skip
            yield _post(path, body, f"Content-Type: {kind}")
        for form in (
            b"q=%ff",
            b"q",
            b"&&&&",
            b"=" * 1000,
            b"q=" + b"%" * 1000,
            b"a=b&" * 30_000,
            b"q=a&q=b&source=de&source=en",
            b"\xff=\xfe",
        ):
            yield _post(path, form, _FORM)
        for part in (
            b"--x\r\n\r\n--x--", b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\na', b"--x--",
            b"--x\r\n" * 1000, b"\r\n",
            b'--x\r\nContent-Disposition: form-data; name="q"; filename="a"\r\n\r\na\r\n--x--\r\n',
            b'--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n',
            b"--x\r\n" + b"A: b\r\n" * 2000 + b"\r\na\r\n--x--\r\n",
        ):  # fmt: skip
            yield _post(path, part, "Content-Type: multipart/form-data; boundary=x")


def odd_values() -> Iterator[bytes]:
    """A wrong value in every field of every operation, in JSON and in forms; and each field left out."""
    for path, fields in BODIES.items():
        for name in fields:
            rest = {other: value for other, value in fields.items() if other != name}
            yield _post(path, json.dumps(rest).encode())
            for value in _VALUES:
                yield _post(path, f'{json.dumps(rest)[:-1]}{", " if rest else ""}"{name}": {value}}}'.encode())
            for value in ("", " ", "\x00", "ä" * 50, "-1", "999999999", "null", "true", "[]"):
                yield _post(path, urlencode({**_flat(rest), name: value}).encode(), _FORM)
        yield _post(path, json.dumps({**fields, "unknown": 1}).encode())


def odd_texts() -> Iterator[bytes]:
    """Texts that are valid and strange, in every format."""
    fast = {"domain": "general", "beam_size": 1, "max_length": 10}
    for text, format_ in itertools.product(_TEXTS, ("text", "html", "xml")):
        yield _post("/v1/translate", json.dumps({**fast, "text": text, "format": format_}).encode())


def mutations(draw: random.Random) -> Iterator[bytes]:
    """Good requests with some of their bytes changed, cut, doubled or mixed with another's, for ever."""
    good = [_post(path, _encoded(path)) for path in BODIES]
    good += [_post(path, urlencode(_flat(fields)).encode(), _FORM) for path, fields in BODIES.items()]
    good += [head("GET", path, ["Connection: close"]) for path in _PATHS]
    while True:
        mutated = bytearray(draw.choice(good))
        for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
            _mutate(mutated, draw, draw.choice(good))
        yield bytes(mutated)


def _mutate(content: bytearray, draw: random.Random, other: bytes) -> None:
    at = draw.randrange(len(content) + 1)
    end = min(len(content), at + draw.choice((1, 1, 2, 8, 64)))
    match draw.randrange(6):
        case 0 if at < len(content):
            content[at] ^= 1 << draw.randrange(8)
        case 1:
            content[at:at] = draw.randbytes(draw.choice((1, 1, 4, 32)))
        case 2:
            del content[at:end]
        case 3:
            content[at:at] = content[at:end] * draw.choice((1, 2, 10))
        case 4:
            start = draw.randrange(len(other))
            content[at:end] = other[start : start + draw.choice((1, 8, 64))]
        case _:
            content[at:at] = draw.choice(
                (b'"', b"\\", b"\r\n", b"\x00", b"\xff", b"{", b"]", b"%", b"&", b"<", b"9" * 20)
            )


def _encoded(path: str) -> bytes:
    return json.dumps(BODIES[path]).encode()


def _post(path: str, body: bytes, kind: str = _JSON) -> bytes:
    return head("POST", path, [kind, f"Content-Length: {len(body)}", "Connection: close"]) + body


def _flat(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
