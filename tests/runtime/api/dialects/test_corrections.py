"""Corrections over HTTP, in both dialects: kept, known, refused, and who may send them."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fmalloc_runtime.access.keys import add_key
from fmalloc_shared.corrections import Correction, read_log
from fmalloc_shared.languages import LanguagePair
from tests.support.api import LINE, PAIR, Served, serving
from tests.support.bundles import SENTENCES, bundle_of

BETTER = "Click the window that is open."


@pytest.fixture
def taking(bundles: Path, tmp_path: Path) -> Iterator[Served]:
    with serving(bundles, text_limit=5_000, corrections=tmp_path / "log") as running:
        yield running


def kept(folder: Path, domain: str = "it") -> list[Correction]:
    path = folder / "log" / f"{domain}.jsonl"
    return [correction for _, correction in read_log(path)] if path.exists() else []


def test_a_correction_is_kept_with_the_domain_that_the_router_finds(
    taking: Served, bundles: Path, tmp_path: Path
) -> None:
    answer = taking.client.post(
        "/v1/corrections", json={"source": f" {LINE} ", "target": BETTER}, headers={"X-Request-ID": "r1"}
    )
    assert answer.status_code == 200
    body = answer.json()
    assert body["corrections"] == [{"result": "kept"}]
    assert (body["domain"]["name"], body["domain"]["reason"]) == ("it", "detected")
    (found,) = kept(tmp_path)
    assert (found.source, found.target, found.asked, found.domain) == (LINE, BETTER, "auto", "it")
    assert found.bundle == bundle_of(bundles, "it").name and found.score == body["domain"]["score"]
    assert found.languages == LanguagePair("de", "en") and found.client is None and found.request == "r1"


def test_each_of_several_gets_its_own_outcome(taking: Served, tmp_path: Path) -> None:
    source, target = [LINE, LINE, LINE, "%s offen", LINE], [BETTER, "", BETTER, "open", LINE]
    body = taking.client.post("/v1/corrections", json={"source": source, "target": target, "domain": "kitchen"}).json()
    assert body["corrections"] == [
        {"result": "kept"},
        {"result": "refused", "reason": "a side is empty"},
        {"result": "known"},
        {"result": "refused", "reason": "the target lacks %s of the source"},
        {"result": "refused", "reason": "the target has the words of the source"},
    ]
    assert body["domain"]["reason"] == "asked for"
    assert [correction.target for correction in kept(tmp_path, "kitchen")] == [BETTER] and not kept(tmp_path)
    metrics = taking.client.get("/metrics").text
    assert 'fmalloc_corrections_total{domain="kitchen",result="refused"} 3.0' in metrics


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"source": [LINE], "target": [BETTER, BETTER]}, 400, "source has 1 texts, target 2: they must correspond"),
        ({"source": LINE}, 400, "target is missing: expected how it should have been translated"),
        ({"source": LINE, "target": 3}, 400, "target is 3: expected a string or a list of strings"),
        ({"source": LINE, "target": BETTER, "domain": "x"}, 400, "domain 'x' is not served"),
        ({"source": LINE, "target": "x" * 5_000}, 413, "at most 5000 are allowed per request"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_kept(
    taking: Served, tmp_path: Path, fields: dict[str, object], status: int, message: str
) -> None:
    answer = taking.client.post("/v1/corrections", json=fields)
    assert answer.status_code == status and message in answer.json()["error"]
    assert list((tmp_path / "log").iterdir()) == []


def test_libretranslates_page_suggests_with_a_form(taking: Served, tmp_path: Path) -> None:
    """Its page sends a multipart form."""
    form = {name: (None, value) for name, value in {"q": LINE, "s": BETTER, **PAIR, "api_key": ""}.items()}
    for _ in range(2):
        answer = taking.client.post("/suggest", files=form)
        assert (answer.status_code, answer.json()) == (200, {"success": True})
    fields = {"q": SENTENCES["it"][1], "s": BETTER, **PAIR, "domain": "general"}
    assert taking.client.post("/suggest", json=fields).json() == {"success": True}
    assert len(kept(tmp_path)) == 1 and len(kept(tmp_path, "general")) == 1
    assert taking.client.get("/frontend/settings").json()["suggestions"] is True


def test_a_refused_suggestion_is_an_error_with_the_reason(taking: Served) -> None:
    answer = taking.client.post("/suggest", data={"q": LINE, "s": LINE, **PAIR})
    assert answer.status_code == 400
    assert answer.json() == {"error": "the suggestion is refused: the target has the words of the source"}
    answer = taking.client.post("/suggest", data={"q": LINE, "s": BETTER, "source": "en", "target": "de"})
    assert answer.status_code == 400 and "is not supported" in answer.json()["error"]


def test_a_server_that_keeps_none_says_so(client: httpx.Client) -> None:
    message = "this server keeps no corrections: its operator may turn that on with --corrections"
    for path, fields in (
        ("/v1/corrections", {"source": LINE, "target": BETTER}),
        ("/suggest", {"q": LINE, "s": BETTER, **PAIR}),
    ):
        answer = client.post(path, json=fields)
        assert (answer.status_code, answer.json()) == (403, {"error": message})
    assert client.get("/frontend/settings").json()["suggestions"] is False


def test_keys_and_rates_hold_for_corrections_and_the_key_is_recorded(bundles: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = add_key(keys, "weblate", {"requests_per_minute": 2})
    fields, native = {"q": LINE, "s": BETTER, **PAIR}, {"source": LINE, "target": BETTER}
    with serving(bundles, keys=keys, corrections=tmp_path / "log") as server:
        assert server.client.post("/suggest", json=fields).status_code == 403
        assert server.client.post("/v1/corrections", json=native).status_code == 403
        assert not kept(tmp_path)
        assert server.client.post("/suggest", json={**fields, "api_key": key}).status_code == 200
        bearer = {"Authorization": f"Bearer {key}"}
        known = server.client.post("/v1/corrections", json=native, headers=bearer).json()
        assert known["corrections"] == [{"result": "known"}]
        assert server.client.post("/v1/corrections", json=native, headers=bearer).status_code == 429
    assert [correction.client for correction in kept(tmp_path)] == ["weblate"]


def test_a_full_log_is_507_and_loses_nothing(bundles: Path, tmp_path: Path) -> None:
    with serving(bundles, corrections=tmp_path / "log", corrections_limit=500) as server:
        fields = {"source": LINE, "target": BETTER, "domain": "it"}
        assert server.client.post("/v1/corrections", json=fields).status_code == 200
        fields["target"] = "Click the open window."
        answer = server.client.post("/v1/corrections", json=fields)
        assert answer.status_code == 507 and "more than 500 bytes" in answer.json()["error"]
        answer = server.client.post("/suggest", json={"q": LINE, "s": "Click it now.", **PAIR})
        assert answer.status_code == 507 and "more than 500 bytes" in answer.json()["error"]
    assert len(kept(tmp_path)) == 1


def test_no_text_of_a_correction_is_logged(taking: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        taking.client.post("/v1/corrections", json={"source": LINE, "target": BETTER})
        taking.client.post("/v1/corrections", json={"source": LINE, "target": LINE})
    assert caplog.records and BETTER not in caplog.text and LINE not in caplog.text


def test_half_a_surrogate_pair_is_refused(taking: Served, tmp_path: Path) -> None:
    body = json.dumps({"source": LINE, "target": "half \ud800"})
    answer = taking.client.post("/v1/corrections", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and "target holds half a surrogate pair" in answer.json()["error"]
    assert not kept(tmp_path)
