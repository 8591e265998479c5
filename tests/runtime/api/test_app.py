"""The app as a whole: what is not there, what is not ready, what is too much, and clients that leave."""

import json
import logging
import socket
from pathlib import Path

import httpx
import pytest

from fmalloc_runtime.bundle.bundle import GoldenRecord
from fmalloc_runtime.engines.ctranslate2 import CTranslate2Engine
from fmalloc_runtime.errors import EngineError
from tests.support.api import LINE, PAIR, Served, serving, wait_until
from tests.support.bundles import SENTENCES, bundle_of, make_live, write_bundle

MANY = [f"{line} {number}" for number in range(250) for line in SENTENCES["it"]]


def figure(served: Served, name: str, **labels: str) -> float:
    """A metric's value now; 0 where nothing was counted yet."""
    return served.service.metrics.registry.get_sample_value(name, labels) or 0.0


def test_health(client: httpx.Client, bundles: Path) -> None:
    assert client.get("/livez").json() == {"status": "live"}
    assert client.get("/health").json() == {"status": "ok"}
    ready = client.get("/readyz").json()
    assert sorted(ready) == ["domains", "failure", "status"] and ready["status"] == "ready" and ready["failure"] is None
    assert ready["domains"]["it"] == {"bundle": bundle_of(bundles, "it").name, "loaded": True}
    assert sorted(ready["domains"]) == ["general", "it", "kitchen"]


def test_metrics(client: httpx.Client) -> None:
    client.post("/translate", json={"q": LINE, **PAIR})
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'fmalloc_requests_total{endpoint="/translate",status="200"}' in answer.text


def test_what_is_not_there(client: httpx.Client) -> None:
    answer = client.get("/translate")
    assert answer.status_code == 405 and answer.headers["allow"] == "POST"
    assert answer.json() == {"error": "Method Not Allowed"}
    for path in ("/nothing", "/translate/", "/v2/glossary", "/v2/models/"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json() == {"error": "Not Found", "message": "Not Found"}


def test_head_is_get_without_a_body(client: httpx.Client) -> None:
    answer = client.head("/readyz")
    assert answer.status_code == 200 and answer.content == b""


def test_not_ready_until_something_is_live(own_bundles: Path) -> None:
    live = (own_bundles / "live.json").read_bytes()
    (own_bundles / "live.json").unlink()
    with serving(own_bundles, load=False) as served:
        served.service.registry.refresh()
        assert served.client.get("/livez").status_code == 200
        for path in ("/readyz", "/health", "/languages", "/v2/health/ready", "/v2/models/it", "/v2/languages"):
            assert served.client.get(path).status_code == 503
        assert "live.json: cannot be read" in served.client.get("/readyz").json()["error"]
        assert served.client.post("/translate", json={"q": LINE, **PAIR}).status_code == 503
        answer = served.client.post("/v2/translate", json={"text": [LINE], "target_lang": "EN"})
        assert answer.status_code == 503 and "/readyz and the log say why" in answer.json()["message"]
        (own_bundles / "live.json").write_bytes(live)
        served.service.registry.refresh()
        assert served.client.get("/readyz").status_code == 200


def test_a_bad_new_bundle_is_reported_while_the_old_one_serves(own_bundles: Path, expected: str) -> None:
    with serving(own_bundles) as served:
        old = bundle_of(own_bundles, "it").name
        wrong = write_bundle(own_bundles, "it", golden=(GoldenRecord(source=LINE, translation="wrong"),))
        make_live(own_bundles, wrong)
        served.service.registry.refresh()
        body = served.client.post("/translate", json={"q": LINE, **PAIR}).json()
        assert (body["translatedText"], body["domain"]["bundle"]) == (expected, old)
        ready = served.client.get("/readyz").json()
        assert "golden.jsonl record 1" in ready["failure"] and ready["domains"]["it"]["bundle"] == old


def test_what_is_the_servers_own_fault_is_500_without_details(
    bundles: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that an engine fails on is refused before it is served, so the fault is put into the engine."""

    def fail(*_arguments: object) -> None:
        raise EngineError("out of memory at /srv/model.bin")

    with serving(bundles) as served, caplog.at_level(logging.ERROR):
        monkeypatch.setattr(CTranslate2Engine, "translate", fail)
        word = "haus"
        answer = served.client.post("/translate", json={"q": word, **PAIR})
        assert answer.status_code == 500
        assert answer.json() == {"error": "the server failed to answer; see its log"}
        answer = served.client.post("/v2/translate", json={"text": [word], "target_lang": "EN"})
        assert answer.status_code == 500
        assert answer.json() == {"message": "the server failed to answer; see its log"}
    assert "out of memory at /srv/model.bin" in caplog.text


def test_more_than_the_server_takes_at_once_is_told_in_each_dialect(bundles: Path) -> None:
    with serving(bundles, queue_characters=1_000) as served, working(served):
        answer = served.client.post("/translate", json={"q": LINE, **PAIR})
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
        assert "characters are being translated" in answer.json()["error"]
        answer = served.client.post("/v2/translate", json={"text": [LINE], "target_lang": "EN"})
        assert answer.status_code == 529 and int(answer.headers["retry-after"]) >= 1
        assert "characters are being translated" in answer.json()["message"]
        assert served.client.get("/readyz").status_code == 200


def test_a_client_that_leaves_takes_its_sentences_along(bundles: Path) -> None:
    with serving(bundles) as served:
        with working(served):
            wait_until(lambda: figure(served, "fmalloc_batch_sentences_sum", domain="it") > 0)
        wait_until(lambda: figure(served, "fmalloc_in_flight_characters") == 0)
        assert figure(served, "fmalloc_batch_sentences_sum", domain="it") < len(MANY) / 2
        assert figure(served, "fmalloc_requests_total", endpoint="/translate", status="499") == 1
        assert served.client.post("/translate", json={"q": LINE, **PAIR}).status_code == 200


class working:  # noqa: N801 - used as a function
    """While inside, the server works on a long request; its client leaves at the end."""

    def __init__(self, served: Served) -> None:
        self._served = served
        host, port = served.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)

    def __enter__(self) -> None:
        body = json.dumps({"q": MANY, **PAIR, "domain": "it"}).encode()
        head = (
            f"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        self._socket.sendall(head.encode() + b"\r\n" + body)
        wait_until(lambda: figure(self._served, "fmalloc_in_flight_characters") > 0)

    def __exit__(self, *_: object) -> None:
        self._socket.close()
