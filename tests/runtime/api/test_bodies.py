"""Bodies as clients send them: JSON, forms, broken ones, huge ones."""

import gc
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from fmalloc_runtime.api.bodies import Sent, parsed, shown
from fmalloc_runtime.api.dialects import deepl as deepl_fields
from fmalloc_runtime.api.dialects import inference as inference_fields
from fmalloc_runtime.api.dialects import libretranslate as libretranslate_fields
from fmalloc_runtime.api.dialects import native as native_fields
from fmalloc_runtime.errors import RequestError
from tests.support.api import LINE, PAIR
from tests.support.linear_time import excess
from tests.support.needs import skip_without
from tests.support.server_process import Server, serving

JSON = {"Content-Type": "application/json"}
FORM = b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"q": ', "the body is not JSON in UTF-8"),
        (b"", "the body is not JSON in UTF-8"),
        (b'{"q": "gr\xfc\xdf"}', "the body is not JSON in UTF-8"),
        (b'\xff\xfe{\x00"\x00', "the body is not JSON in UTF-8"),
        (b'{"q": "a", "source": "de", "q": "b"}', "the body is not JSON in UTF-8: 'q' is given twice"),
        (b'{"q": NaN}', "the body is not JSON in UTF-8: NaN is not a JSON number"),
        (b'{"q": -Infinity}', "the body is not JSON in UTF-8: -Infinity is not a JSON number"),
        (b"[" * 15_000, "the body is not JSON in UTF-8"),
        (b'{"q": ' * 3_000, "the body is not JSON in UTF-8"),
        (b'{"q": ' + b"9" * 15_000 + b"}", "the body is not JSON in UTF-8"),
        (b'{"q": 1e999, "source": "de", "target": "en"}', "q is inf: expected a string"),
        (
            b'{"q": ' + b"[" * 500 + b"]" * 500 + b', "source": "de", "target": "en"}',
            "q[1] is [[[...]]]: expected a string",
        ),
        (b"[1, 2]", "the body is [1, 2]: expected a JSON object"),
        (b'"q"', "the body is 'q': expected a JSON object"),
    ],
)
def test_bad_json_is_400(client: httpx.Client, body: bytes, complaint: str) -> None:
    answer = client.post("/translate", content=body, headers=JSON)
    assert answer.status_code == 400 and answer.json()["error"].startswith(complaint)


def test_json_may_say_its_charset_and_start_with_spaces(client: httpx.Client, expected: str) -> None:
    body = f"\r\n {json.dumps({'q': LINE, **PAIR})}"
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert client.post("/translate", content=body, headers=headers).json()["translatedText"] == expected


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "application/jsonx", ""])
def test_other_kinds_of_bodies_are_415(client: httpx.Client, kind: str) -> None:
    answer = client.post("/translate", content=b"x", headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert answer.json()["error"].startswith(f"content type {kind!r}: expected application/json or application/x-www")


@pytest.mark.parametrize(
    ("kind", "body", "complaint"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense", "the body is not a whole form"),
        (
            "multipart/form-data; boundary=x",
            FORM + b"gr\xfc\xdf\r\n--x--",
            "the body is not a form of text fields in UTF-8",
        ),
        ("multipart/form-data; boundary=x", FORM + b"a\r\n" + FORM + b"b", "the body is not a whole form"),
        ("multipart/form-data", b"--x\r\n", "the body is not a form of text fields"),
        ("application/x-www-form-urlencoded", b"q=%ff&source=de&target=en", "the body is not URL-encoded UTF-8"),
        ("application/x-www-form-urlencoded", b"q=\xff", "the body is not URL-encoded UTF-8"),
        ("application/x-www-form-urlencoded", b"a&" * 9_000, "q is missing"),
    ],
)
def test_bad_forms_are_400(client: httpx.Client, kind: str, body: bytes, complaint: str) -> None:
    answer = client.post("/translate", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400 and answer.json()["error"].startswith(complaint)


def test_files_and_bad_query_strings_are_400(client: httpx.Client) -> None:
    answer = client.post("/translate", files={"q": ("a.txt", b"text")}, data=PAIR)
    assert answer.status_code == 400 and "the body is not a form of text fields" in answer.json()["error"]
    answer = client.get("/v2/translate?text=%ff&target_lang=EN")
    assert answer.status_code == 400 and "the query string is not URL-encoded UTF-8" in answer.json()["message"]


def test_text_comes_through_forms_as_it_is(client: httpx.Client) -> None:
    text = "42 & 17 + 3 = 62; 100%\r\n\r\n€ 5\t½"
    for kind in ("data", "files"):
        fields = {"q": text, **PAIR}
        sent: Any = fields if kind == "data" else {name: (None, value) for name, value in fields.items()}
        assert client.post("/translate", **{kind: sent}).json()["translatedText"] == text


def test_many_texts_are_413_with_the_limit(client: httpx.Client) -> None:
    answer = client.post("/translate", content=json.dumps({"q": [""] * 10_001, **PAIR}).replace(" ", ""), headers=JSON)
    assert answer.status_code == 413 and "20000 bytes" in answer.json()["error"]


def test_values_are_quoted_short() -> None:
    assert shown("a" * 1_000_000) == f"'{'a' * 37}...{'a' * 38}'"
    assert len(shown([["a" * 1_000] * 1_000] * 1_000)) < 3_000
    assert shown({"a": {"b": {"c": {}}}}) == "{'a': {'b': {...}}}"


MODELS = (
    deepl_fields.TranslateFields,
    inference_fields.InferFields,
    libretranslate_fields.TranslateFields,
    native_fields.TranslateFields,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted({name for model in MODELS for name in model.model_fields}))
PATHS = st.sampled_from(["/translate", "/detect", "/v2/translate", "/v1/route", "/v1/translate", "/v2/models/it/infer"])


@settings(max_examples=60, deadline=None)
@given(path=PATHS, fields=st.dictionaries(NAMES, VALUES, max_size=6))
def test_no_json_object_is_a_server_error(client: httpx.Client, path: str, fields: dict[str, Any]) -> None:
    answer = client.post(path, content=json.dumps(fields), headers=JSON)
    assert answer.status_code in (200, 400, 413)
    if answer.status_code != 200:
        (message,) = answer.json().values()
        assert message


@settings(max_examples=30, deadline=None)
@given(
    path=PATHS,
    kind=st.sampled_from(["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]),
    body=st.binary(max_size=200),
)
def test_no_bytes_are_a_server_error(client: httpx.Client, path: str, kind: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 415)


@pytest.fixture(scope="module")
def server(bundles: Path) -> Iterator[Server]:
    with serving(bundles) as running:
        yield running


def peak_memory(server: Server) -> int:
    """Peak resident size in bytes."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        skip_without("proc")
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("declared", [True, False])
def test_100_megabytes_are_413_and_not_kept(server: Server, declared: bool) -> None:
    assert server.translate(LINE)[0] == 200
    before = peak_memory(server)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = JSON | ({"Content-Length": str(100 * 2**20)} if declared else {})
    connection.request("POST", "/translate", (b"x" * 2**20 for _ in range(100)), headers)
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["error"] == f"the body is larger than {2 * 2**20} bytes, the limit for a request"
    connection.close()
    assert peak_memory(server) - before < 30 * 2**20
    assert server.ask("GET", "/livez")[0] == 200


def test_dense_json_at_the_limit_takes_bounded_time_and_memory(server: Server) -> None:
    """Empty lists are what costs most memory a byte."""
    before = peak_memory(server)
    for value in (b'{"q": [' + b"[]," * 690_000 + b"[]]}", b'{"q": ["a"' + b',""' * 690_000 + b"]}"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        began = time.perf_counter()
        connection.request("POST", "/translate", value, JSON)
        answer = connection.getresponse()
        assert answer.status in (400, 413) and b"q" in answer.read()
        assert time.perf_counter() - began < 5
        connection.close()
    assert peak_memory(server) - before < 250 * 2**20


def test_a_lying_content_length_harms_nobody(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        connection.sendall(b'Content-Length: 1000000\r\n\r\n{"q"')
    assert server.ask("GET", "/livez")[0] == 200
    assert server.translate(LINE)[0] == 200


@pytest.mark.parametrize(
    ("kind", "head", "unit", "tail"),
    [
        ("multipart/form-data; boundary=x", b"", FORM + b"a\r\n", b"--x--"),
        ("multipart/form-data; boundary=x", FORM, b"\r\n--", b"\r\n--x--"),
        ("multipart/form-data; boundary=x", b"", b"--x\r\n", b"--x--"),
        ("application/x-www-form-urlencoded", b"q=", b"%", b""),
        ("application/x-www-form-urlencoded", b"q=", b"%41", b""),
        ("application/json", b'{"q":[', b"{},", b"1]}"),
        ("application/json", b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":[', b"1,", b"1]}]}"),
        ("application/json", b'{"q":"', b"\\n", b'"}'),
    ],
)
def test_bodies_are_parsed_in_linear_time_and_errors_are_short(
    kind: str, head: bytes, unit: bytes, tail: bytes
) -> None:
    def made(length: int) -> tuple[Request, bytes]:
        body = head + unit * (length // len(unit)) + tail
        return _posted(kind), body

    def read(sent_body: tuple[Request, bytes]) -> None:
        request, body = sent_body
        try:
            sent = Sent(*parsed(request, body, forms=True))
            for model in MODELS:
                with suppress(RequestError):
                    model.of(sent)
        except RequestError as error:
            assert len(str(error)) < 8_000

    assert excess(made, read, 2**19) == ""


def test_only_large_bodies_are_read_without_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """To leave such a block starts a thread, which takes longer than to read a sentence."""
    started = []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: started.append(timer))
    for size, threads in ((100, 0), (40_000, 1)):
        parsed(_posted("application/json"), json.dumps({"q": "a" * size}).encode(), forms=True)
        assert len(started) == threads
    started[0].function()
    assert gc.isenabled()


def _posted(kind: str) -> Request:
    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())], "app": None})
