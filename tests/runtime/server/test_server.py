"""The server as a process: how it starts, how it stops, and clients that it must not wait for."""

import http.client
import itertools
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fmalloc_runtime import machine
from tests.support.bundles import SENTENCES
from tests.support.server_process import Server, serving

LINE = SENTENCES["it"][0]
# Seconds of work.
LONG = [" ".join(words) for words in itertools.islice(itertools.permutations(LINE.split()), 9000)]
ROOM = ("--text-limit", "1000000")
HEAD = b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"


@pytest.fixture(scope="module")
def hasty(bundles: Path) -> Iterator[Server]:
    """A server that waits half a second for anything."""
    with serving(
        bundles, "--header-seconds", "500ms", "--body-seconds", "500ms", "--keep-alive-seconds", "1"
    ) as server:
        yield server


def gone_after(connection: socket.socket) -> float:
    """Seconds until the server closes a connection on which nothing is answered."""
    began = time.perf_counter()
    with suppress(ConnectionResetError):
        assert connection.recv(1) == b""
    return time.perf_counter() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_where_there_is_nothing_to_do(bundles: Path, number: signal.Signals) -> None:
    with serving(bundles) as server, server.connect():  # an idle connection keeps nobody
        assert server.ask("GET", "/livez")[0] == 200
        began = time.perf_counter()
        server.process.send_signal(number)
        status, rest = server.end()
    assert status == 0 and time.perf_counter() - began < 3
    assert "Traceback" not in rest and f"{number.name}: finishing what has begun" in rest


def test_what_has_begun_is_finished_and_nothing_new_is_taken(bundles: Path) -> None:
    with serving(bundles, *ROOM) as server, ThreadPoolExecutor() as pool:
        answer = pool.submit(server.translate, LONG[:4000])
        time.sleep(0.5)
        assert not answer.done()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        status, body = answer.result()
        assert status == 200 and len(body["translatedText"]) == 4000
        assert server.end()[0] == 0


def test_what_takes_longer_than_the_drain_is_cut_off(bundles: Path) -> None:
    with serving(bundles, "--drain-seconds", "300ms", *ROOM) as server, ThreadPoolExecutor() as pool:
        answer = pool.submit(server.translate, LONG)
        time.sleep(0.5)
        began = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        status, rest = server.end()
        assert status == 1 and time.perf_counter() - began < 3
        assert "1 requests were cut off after 0.3 seconds" in rest and "Traceback" not in rest
        assert isinstance(answer.exception(), OSError)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(bundles: Path, number: signal.Signals) -> None:
    with serving(bundles, *ROOM) as server, ThreadPoolExecutor() as pool:
        answer = pool.submit(server.translate, LONG)
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert server.process.poll() is None
        began = time.perf_counter()
        server.process.send_signal(number)
        assert server.end()[0] == -number and time.perf_counter() - began < 1
        assert answer.exception()


def test_a_head_that_trickles_is_cut_off(hasty: Server) -> None:
    with hasty.connect() as connection:

        def trickle() -> None:
            for byte in HEAD * 3:
                time.sleep(0.05)
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        assert gone_after(connection) < 2
        thread.join()
    with hasty.connect() as silent:
        assert gone_after(silent) < 2


def test_a_head_that_trickles_after_an_answer_is_cut_off(hasty: Server) -> None:
    with hasty.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        received = connection.recv(1000)
        while not received.endswith(b"}"):
            received += connection.recv(1000)
        connection.sendall(b"G")
        assert gone_after(connection) < 2


def test_a_body_that_does_not_come_is_408_and_the_end(hasty: Server) -> None:
    with hasty.connect() as connection:
        connection.sendall(HEAD + b'{"q": ')
        answer = connection.recv(4000)
        assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer
        while received := connection.recv(4000):
            answer += received
        assert answer.endswith(b'{"error":"the body did not arrive within 0.5 seconds"}')


def test_a_client_that_reads_no_answer_is_cut_off(hasty: Server) -> None:
    def connected() -> bool:
        there = psutil.Process(hasty.process.pid).net_connections()
        return any(item.raddr and item.raddr.port == port for item in there)

    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", hasty.port))
        port = connection.getsockname()[1]
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        deadline = time.monotonic() + 30
        while not connected():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # The system's own buffers take megabytes before the server notices.
        while connected():
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_thousand_connections_are_served_and_one_more_than_allowed_is_503(bundles: Path) -> None:
    machine.raise_open_files()
    many = min(1000, machine.open_files()[0] // 2)  # as many as this machine lets a process open
    assert many >= 100
    with serving(bundles, "--connections", str(many + 1), "--header-seconds", "60") as server:
        connections = [server.connect() for _ in range(many)]
        try:
            assert server.ask("GET", "/livez")[0] == 503
            connections.pop().close()
            time.sleep(0.2)
            assert server.translate(LINE)[0] == 200
            for connection in connections:
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert all(connection.recv(12) == b"HTTP/1.1 200" for connection in connections)
        finally:
            for connection in connections:
                connection.close()


def test_answers_on_a_kept_connection_are_not_held_back(hasty: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", hasty.port, timeout=60)
    seconds = []
    for _ in range(12):
        began = time.perf_counter()
        connection.request("GET", "/livez")
        assert connection.getresponse().read()
        seconds.append(time.perf_counter() - began)
    connection.close()
    assert min(seconds[1:]) < 0.03  # delayed acknowledgements come after 40 ms


def test_a_port_in_use_is_known_before_anything_is_loaded(bundles: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1:{port}"),
            serving(tmp_path / "nowhere", "--port", str(port)),
        ):
            pass
