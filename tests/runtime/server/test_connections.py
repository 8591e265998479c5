"""Clients that send a body in as many pieces as they can, against a real server."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fmalloc_runtime.access.keys import add_key
from tests.support.bundles import SENTENCES
from tests.support.server_process import Server, serving

LINE = SENTENCES["it"][0]
HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECES = 200_000


@pytest.fixture(scope="module")
def guarded(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for keys."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    add_key(keys, "client", {})
    with serving(bundles, "--keys", str(keys), "--body-seconds", "20") as server:
        yield server


def status_of(server: Server, path: bytes, body: bytes) -> int:
    """The status of the answer to a body that is sent as it is; 0 if the server hangs up without one."""
    with server.connect() as connection, suppress(OSError):

        def send() -> None:
            with suppress(OSError):
                connection.sendall(HEAD % path + body)

        sender = threading.Thread(target=send)
        sender.start()
        received = connection.recv(1000)
        connection.shutdown(socket.SHUT_RDWR)
        sender.join()
        return int(received.split()[1]) if received else 0
    return 0


@pytest.mark.parametrize(
    "path", [b"/translate", b"/v1/translate", b"/v2/translate", b"/v2/models/it/infer", b"/detect"]
)
def test_a_body_of_bytes_one_by_one_is_refused_and_keeps_nobody(guarded: Server, path: bytes) -> None:
    threads = [
        threading.Thread(target=status_of, args=(guarded, path, b"1\r\n \r\n" * PIECES + b"0\r\n\r\n"))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    waits = []
    while any(thread.is_alive() for thread in threads):
        asked = time.perf_counter()
        assert guarded.ask("GET", "/livez")[0] == 200
        waits.append(time.perf_counter() - asked)
    for thread in threads:
        thread.join()
    assert max(waits, default=0) < 5  # well under 0.1 on a machine that does nothing else


@pytest.mark.parametrize("path", [b"/translate", b"/v1/translate"])
def test_bytes_one_by_one_are_a_bad_request(guarded: Server, path: bytes) -> None:
    assert status_of(guarded, path, b"1\r\n \r\n" * 1_500) in (0, 400)
    assert guarded.ask("GET", "/livez")[0] == 200


@pytest.mark.parametrize("size", [200, 5_000, 100_000])
def test_a_body_in_pieces_as_clients_send_them_is_read(bundles: Path, size: int) -> None:
    body = b'{"q": "' + b" " * 1_500_000 + LINE.encode() + b'", "source": "de", "target": "en"}'
    with serving(bundles, "--text-limit", "2000000") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        connection.request("POST", "/translate", pieces, {"Content-Type": "application/json"}, encode_chunked=True)
        assert connection.getresponse().status == 200
        connection.close()


def test_a_few_tiny_pieces_are_read(guarded: Server) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"q": "Hallo.", "source": "de", "target": "en"}')
    assert status_of(guarded, b"/translate", body + b"0\r\n\r\n") == 403


@pytest.mark.parametrize("path", ["/v1/translate", "/v2/models/it/infer", "/translate", "/v2/translate"])
def test_a_client_without_a_key_is_refused_before_anything_is_checked(guarded: Server, path: str) -> None:
    status, answer = guarded.ask(
        "POST", path, {"inputs": [{"name": 1, "data": [1] * 5_000}], "q": 1, "text": [1] * 5_000}
    )
    assert status == 403 and len(str(answer)) < 200
    status, _ = guarded.ask("POST", path, {}, Authorization="Bearer wrong")
    assert status == 403


def test_what_names_domains_and_files_asks_for_a_key(bundles: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "operator", {})
    flags = ("--keys", str(tmp_path / "keys.json"))
    with serving(bundles, *flags, "--guarded", "ready,metrics,models") as server:
        own = {"Authorization": f"Bearer {key}"}
        assert server.ask("GET", "/readyz") == (200, {"status": "ready"})
        assert "it" in server.ask("GET", "/readyz", **own)[1]["domains"]
        for path in ("/metrics", "/v2/models/it"):
            assert server.ask("GET", path)[0] == 403
            assert server.ask("GET", path, **own)[0] == 200
        assert server.ask("GET", "/v2/models/it/ready")[0] == 200
        assert "kitchen" not in str(server.ask("GET", "/v2/models/other/ready"))
        assert "kitchen" in str(server.ask("GET", "/v2/models/other/ready", **own))
        assert "kitchen" not in str(server.ask("GET", "/openapi.json")[1])
        assert "kitchen" in str(server.ask("GET", "/openapi.json", **own)[1])
    with serving(bundles, *flags) as server:
        assert server.ask("GET", "/metrics")[0] == 200 and server.ask("GET", "/v2/models/it")[0] == 403


def test_a_key_in_the_query_serves_a_json_body(bundles: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "client", {})
    with serving(bundles, "--keys", str(tmp_path / "keys.json")) as server:
        deepl = {"text": [LINE], "target_lang": "EN"}
        assert server.ask("POST", f"/v2/translate?auth_key={key}", deepl)[0] == 200
        assert server.ask("POST", "/v2/translate", {**deepl, "auth_key": key})[0] == 200
        assert server.ask("POST", "/v2/translate?auth_key=wrong", deepl)[0] == 403
        libre = {"q": LINE, "source": "de", "target": "en", "format": ""}
        assert server.ask("POST", f"/translate?api_key={key}", libre)[0] == 200
        assert server.ask("POST", "/translate", {**libre, "api_key": key})[0] == 200
        assert server.ask("POST", f"/v1/translate?api_key={key}", {"text": LINE})[0] == 403
        assert server.ask("GET", f"/v2/usage?auth_key={key}")[1]["character_count"] == 2 * len(LINE) + 2 * len(LINE)


def test_errors_of_many_wrong_fields_are_short(bundles: Path) -> None:
    with serving(bundles) as server:
        for path, fields in (
            (
                "/v2/models/it/infer",
                {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [1] * 9_000}]},
            ),
            ("/v1/translate", {"text": "a", "ignore_tags": list(range(1_000))}),
            ("/v2/translate", {"text": "a", "target_lang": "EN", "splitting_tags": [["x" * 900] * 9] * 90}),
        ):
            status, answer = server.ask("POST", path, fields)
            assert status == 400 and len(str(answer)) < 8_000, path
