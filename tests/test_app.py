"""The HTTP app: LibreTranslate's shape, the errors, and a real server under a hostile client."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from runtime_fixtures import CPU, SENTENCES, bundle_of, bundles, make_live, own_bundles, write_bundle
from starlette.testclient import TestClient

from fmalloc_runtime.__main__ import serve
from fmalloc_runtime.app import create_app
from fmalloc_runtime.bundle import Bundle, GoldenRecord, LiveIndex
from fmalloc_runtime.errors import FmallocError, InputTooLongError, NotReadyError, RequestError, status_of
from fmalloc_runtime.registry import Registry
from fmalloc_runtime.requests import Limits
from fmalloc_runtime.translator import Translator

__all__ = ["bundles", "own_bundles"]
LINE = SENTENCES["it"][0]
PAIR = {"source": "de", "target": "en"}


@pytest.fixture(scope="module")
def client(bundles: Path) -> Iterator[TestClient]:
    app = create_app(Registry(bundles, CPU), Limits(body=20_000, characters=5_000))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def expected(bundles: Path) -> str:
    return Translator.load(Bundle.open(bundle_of(bundles, "it")), CPU).translate([LINE])[0].text


def test_a_string(client: TestClient, bundles: Path, expected: str) -> None:
    answer = client.post("/translate", json={"q": LINE, **PAIR, "api_key": "", "format": "text", "alternatives": 0})
    assert answer.status_code == 200
    body = answer.json()
    assert sorted(body) == ["domain", "translatedText"] and body["translatedText"] == expected
    domain = body["domain"]
    assert sorted(domain) == ["bundle", "name", "reason", "score", "scores"]
    assert (domain["name"], domain["reason"]) == ("it", "detected")
    assert domain["bundle"] == bundle_of(bundles, "it").name
    assert domain["score"] == domain["scores"]["it"] > 0.6


def test_a_list_with_lines_and_blank_lines(client: TestClient, expected: str) -> None:
    body = client.post("/translate", json={"q": [f"{LINE}\n\n{LINE}\r\n", "", LINE], **PAIR}).json()
    assert body["translatedText"] == [f"{expected}\n\n{expected}\r\n", "", expected]
    assert client.post("/translate", json={"q": [], **PAIR}).json()["translatedText"] == []
    assert client.post("/translate", json={"q": "", **PAIR}).json()["domain"]["reason"] == "no text"


def test_a_domain_that_is_asked_for(client: TestClient) -> None:
    body = client.post("/translate", json={"q": LINE, **PAIR, "domain": "kitchen"}).json()
    assert (body["domain"]["name"], body["domain"]["reason"]) == ("kitchen", "asked for")


def test_source_auto_names_the_language(client: TestClient) -> None:
    detected = {"language": "de", "confidence": 0.0}
    fields = {"q": LINE, "source": "auto", "target": "en"}
    assert client.post("/translate", json=fields).json()["detectedLanguage"] == detected
    fields["q"] = [LINE, LINE]  # type: ignore[assignment]
    assert client.post("/translate", json=fields).json()["detectedLanguage"] == [detected, detected]


def test_forms(client: TestClient, expected: str) -> None:
    fields = {"q": LINE, **PAIR, "alternatives": "0"}
    assert client.post("/translate", data=fields).json()["translatedText"] == expected
    assert client.post("/translate", data={**PAIR, "q": [LINE, LINE]}).json()["translatedText"] == [expected] * 2
    parts = {key: (None, value) for key, value in fields.items()}
    assert client.post("/translate", files=parts).json()["translatedText"] == expected


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "q is missing"),
        ({"q": 1, **PAIR}, "q is 1: expected a string"),
        ({"q": None, **PAIR}, "q is None: expected a string"),
        ({"q": ["a", {"b": 1}], **PAIR}, "q[2] is {'b': 1}: expected a string"),
        ({"q": "a", "target": "en"}, "source is missing"),
        ({"q": "a", "source": "de"}, "target is missing"),
        ({"q": "a", "source": ["de"], "target": "en"}, "source is ['de']: expected a string"),
        ({"q": "a", "source": "fr", "target": "en"}, "fr to en is not supported: use source de or auto and target en"),
        ({"q": "a", "source": "de", "target": "fr"}, "de to fr is not supported: use source de or auto and target en"),
        ({"q": "a", **PAIR, "format": "html"}, "format 'html' is not supported: use text"),
        ({"q": "a", **PAIR, "alternatives": 3}, "alternatives 3 is not supported: use 0"),
        ({"q": "a", **PAIR, "domain": "law"}, "domain 'law' is not served: use auto or one of general, it, kitchen"),
        ({"q": "a", **PAIR, "domain": "../x"}, "domain '../x' is not served"),
        ({"q": "a", **PAIR, "domain": 5}, "domain is 5: expected a string"),
        ({"q": f"a\n{LINE * 9}", **PAIR}, "tokens in one line"),
        ([1, 2], "expected a JSON object"),
    ],
)
def test_bad_fields_are_400_and_say_what_is_wrong(client: TestClient, fields: Any, complaint: str) -> None:
    answer = client.post("/translate", json=fields)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"] and complaint in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"q": ', "the body is not JSON in UTF-8"),
        (b"", "the body is not JSON in UTF-8"),
        (b'{"q": "gr\xfc\xdf"}', "the body is not JSON in UTF-8"),
        (b'{"q": "\\ud800", "source": "de", "target": "en"}', "q holds half a surrogate pair at character 0"),
        (b"[" * 15_000, "the body is not JSON in UTF-8"),
        (b'{"q": ' + b"9" * 15_000 + b"}", "the body is not JSON in UTF-8"),
    ],
)
def test_bad_bodies_are_400(client: TestClient, body: bytes, complaint: str) -> None:
    answer = client.post("/translate", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and complaint in answer.json()["error"]


def test_broken_and_file_carrying_forms_are_400(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/translate", content=b"--x\r\nnonsense", headers=headers)
    assert answer.status_code == 400 and "error" in answer.json()
    answer = client.post("/translate", files={"q": ("a.txt", b"text")}, data=PAIR)
    assert answer.status_code == 400 and "error" in answer.json()


def test_other_statuses(client: TestClient) -> None:
    assert client.get("/translate").status_code == 405
    assert client.get("/translate").headers["allow"] == "POST"
    assert client.get("/nothing").json() == {"error": "Not Found"}
    for kind in ("text/plain", ""):
        answer = client.post("/translate", content=b"x", headers={"content-type": kind})
        assert answer.status_code == 415 and "expected application/json" in answer.json()["error"]


def test_limits(client: TestClient) -> None:
    answer = client.post("/translate", json={"q": "a" * 5_001, **PAIR})
    assert answer.status_code == 413 and "5001 characters, at most 5000" in answer.json()["error"]
    answer = client.post("/translate", json={"q": "a" * 20_001, **PAIR})
    assert answer.status_code == 413 and "larger than 20000 bytes" in answer.json()["error"]


def test_languages_and_health(client: TestClient, bundles: Path) -> None:
    assert client.get("/languages").json() == [
        {"code": "de", "name": "German", "targets": ["en"]},
        {"code": "en", "name": "English", "targets": []},
    ]
    assert client.get("/livez").json() == {"status": "live"}
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {
        "status": "ready",
        "domains": dict(LiveIndex.of(bundles).domains),
        "failure": None,
    }


def test_not_ready_until_something_is_live(own_bundles: Path) -> None:
    live = (own_bundles / "live.json").read_bytes()
    (own_bundles / "live.json").unlink()
    with TestClient(create_app(Registry(own_bundles, CPU)), raise_server_exceptions=False) as client:
        assert client.get("/livez").status_code == 200
        for path in ("/readyz", "/health", "/languages"):
            assert client.get(path).status_code == 503
        assert "live.json: cannot be read" in client.get("/readyz").json()["error"]
        assert client.post("/translate", json={"q": LINE, **PAIR}).status_code == 503
        (own_bundles / "live.json").write_bytes(live)
        assert client.get("/readyz").status_code == 200


def test_a_bad_new_bundle_is_reported_while_the_old_one_serves(own_bundles: Path, expected: str) -> None:
    with TestClient(create_app(Registry(own_bundles, CPU))) as client:
        wrong = write_bundle(own_bundles, "it", golden=(GoldenRecord(source=LINE, translation="wrong"),))
        make_live(own_bundles, wrong)
        assert client.post("/translate", json={"q": LINE, **PAIR}).json()["translatedText"] == expected
        assert "golden.jsonl record 1" in client.get("/readyz").json()["failure"]


def test_a_bug_is_500_without_its_details(own_bundles: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bundle that promises more positions than its model has makes the engine itself fail."""
    make_live(own_bundles, write_bundle(own_bundles, "it", golden=(), maximum_length=400))
    with TestClient(create_app(Registry(own_bundles, CPU)), raise_server_exceptions=False) as client:
        answer = client.post("/translate", json={"q": "e" * 200, **PAIR})
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed to answer; its log says why"}
    assert "No position encodings are defined" in caplog.text


def test_one_table_knows_the_status_of_every_error() -> None:
    for kind in RequestError.__subclasses__():
        assert 400 <= status_of(kind.__new__(kind)) < 500
    assert status_of(InputTooLongError("", 0)) == 400
    assert status_of(NotReadyError()) == 503
    assert status_of(FmallocError()) == 500


@contextmanager
def serving(bundles: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A real `fmalloc-serve` process and its port."""
    code = "from fmalloc_runtime.__main__ import serve; serve()"
    command = [sys.executable, "-c", code, str(bundles), "--port", "0", "--threads", "1", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent / "runtime")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)
            assert found, line
            yield process, int(found[1])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(bundles: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with serving(bundles) as running:
        yield running


def ask(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def peak_memory(process: subprocess.Popen[str]) -> int:
    """Peak resident size in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_the_real_server_translates(server: tuple[subprocess.Popen[str], int], expected: str) -> None:
    _, port = server
    status, body = ask(port, "POST", "/translate", json.dumps({"q": LINE, **PAIR}))
    assert (status, body["translatedText"]) == (200, expected)
    assert ask(port, "GET", "/readyz")[0] == 200
    status, body = ask(port, "POST", "/translate", json.dumps({"q": LINE, **PAIR, "domain": "law"}))
    assert status == 400 and "general, it, kitchen" in body["error"]
    assert ask(port, "POST", "/translate", b"{")[0] == 400
    assert ask(port, "DELETE", "/translate")[0] == 405


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["declared", "chunked"])
def test_100_megabytes_are_413_and_not_kept(server: tuple[subprocess.Popen[str], int], kind: str) -> None:
    process, port = server
    ask(port, "POST", "/translate", json.dumps({"q": LINE, **PAIR}))
    before = peak_memory(process)
    headers = {"Content-Type": "application/json"}
    if kind == "declared":
        headers["Content-Length"] = str(100 * 2**20)
    status, body = ask(port, "POST", "/translate", (b"x" * 2**20 for _ in range(100)), headers)
    assert status == 413 and body["error"] == f"the body is larger than {2 * 2**20} bytes"
    assert peak_memory(process) - before < 30 * 2**20
    assert ask(port, "GET", "/livez")[0] == 200


def test_a_lying_content_length_harms_nobody(server: tuple[subprocess.Popen[str], int]) -> None:
    _, port = server
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/json", "Content-Length": "1000000"}
    connection.request("POST", "/translate", b'{"q"', headers)
    connection.close()
    assert ask(port, "GET", "/livez")[0] == 200


def test_a_port_in_use_and_missing_bundles_exit_with_2(
    server: tuple[subprocess.Popen[str], int], bundles: Path, tmp_path: Path
) -> None:
    _, port = server
    result = CliRunner().invoke(serve, [str(bundles), "--port", str(port), "--device", "cpu", "--threads", "1"])
    assert result.exit_code == 2 and f"cannot listen on 127.0.0.1:{port}" in result.stderr
    result = CliRunner().invoke(serve, [str(tmp_path / "nowhere")])
    assert result.exit_code == 2 and "live.json: cannot be read" in result.stderr
    assert "fmalloc-serve bundles --port 5000" in CliRunner().invoke(serve, ["--help"]).stdout


def test_the_real_server_stops_when_told(bundles: Path) -> None:
    with serving(bundles) as (process, port):
        assert ask(port, "GET", "/livez")[0] == 200
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=20)
    assert "Traceback" not in rest and process.returncode in (0, -signal.SIGTERM)
