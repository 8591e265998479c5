"""LibreTranslate's protocol, spoken by its own client and in the shapes that Weblate sends."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from libretranslatepy import LibreTranslateAPI

from fmalloc_runtime.access.keys import add_key
from tests.support.api import LINE, PAIR, Served, serving
from tests.support.bundles import SENTENCES, bundle_of


def test_a_string(client: httpx.Client, bundles: Path, expected: str) -> None:
    answer = client.post("/translate", json={"q": LINE, **PAIR, "api_key": "", "format": "text", "alternatives": 0})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert sorted(body) == ["domain", "translatedText"] and body["translatedText"] == expected
    domain = body["domain"]
    assert sorted(domain) == ["bundle", "name", "reason", "score", "scores"]
    assert (domain["name"], domain["reason"]) == ("it", "detected")
    assert domain["bundle"] == bundle_of(bundles, "it").name
    assert domain["score"] == domain["scores"]["it"] > 0.6


def test_a_list_with_lines_and_blank_lines(client: httpx.Client, expected: str) -> None:
    body = client.post("/translate", json={"q": [f"{LINE}\n\n{LINE}\r\n", "", LINE], **PAIR}).json()
    assert body["translatedText"] == [f"{expected}\n\n{expected}\r\n", "", expected]
    assert client.post("/translate", json={"q": [], **PAIR}).json()["translatedText"] == []
    assert client.post("/translate", json={"q": "", **PAIR}).json()["domain"]["reason"] == "no text"


def test_a_domain_that_is_asked_for(client: httpx.Client) -> None:
    body = client.post("/translate", json={"q": LINE, **PAIR, "domain": "kitchen"}).json()
    assert (body["domain"]["name"], body["domain"]["reason"]) == ("kitchen", "asked for")


@pytest.mark.parametrize("value", ["auto", "", None])
def test_a_domain_that_is_left_open(client: httpx.Client, value: str | None) -> None:
    body = client.post("/translate", json={"q": LINE, **PAIR, "domain": value}).json()
    assert (body["domain"]["name"], body["domain"]["reason"]) == ("it", "detected")


def test_source_auto_names_the_language_without_pretending_to_detect_it(client: httpx.Client) -> None:
    detected = {"language": "de", "confidence": 0.0}
    fields: dict[str, Any] = {"q": LINE, "source": "auto", "target": "en"}
    assert client.post("/translate", json=fields).json()["detectedLanguage"] == detected
    fields["q"] = [LINE, LINE]
    assert client.post("/translate", json=fields).json()["detectedLanguage"] == [detected, detected]
    assert client.post("/detect", json={"q": LINE}).json() == [detected]


def test_alternatives_are_as_many_as_were_asked_for_and_distinct(client: httpx.Client, expected: str) -> None:
    body = client.post("/translate", json={"q": LINE, **PAIR, "alternatives": 3}).json()
    assert 1 <= len(body["alternatives"]) <= 3
    assert len({expected, *body["alternatives"]}) == 1 + len(body["alternatives"])
    body = client.post("/translate", json={"q": ["", LINE], **PAIR, "alternatives": 3}).json()
    assert body["alternatives"][0] == [] and len(body["alternatives"][1]) >= 1
    answer = client.post("/translate", json={"q": LINE, **PAIR, "alternatives": 6})
    assert answer.status_code == 400 and answer.json()["error"] == "alternatives is 6: at most 5 are allowed"


def test_html_keeps_its_tags(client: httpx.Client) -> None:
    html = f'<p class="note">{LINE} <a href="/x?a=1&amp;b=2">{SENTENCES["it"][1]}</a></p><br/>'
    body = client.post("/translate", json={"q": html, **PAIR, "format": "html"}).json()
    text = body["translatedText"]
    assert text.startswith('<p class="note">') and text.endswith("</p><br/>")
    assert text.count('<a href="/x?a=1&amp;b=2">') == text.count("</a>") == 1
    assert body["domain"]["name"] == "it"


def test_forms(client: httpx.Client, expected: str) -> None:
    fields: dict[str, Any] = {"q": LINE, **PAIR, "alternatives": "0", "format": "", "domain": ""}
    assert client.post("/translate", data=fields).json()["translatedText"] == expected
    assert client.post("/translate", data={**PAIR, "q": [LINE, LINE]}).json()["translatedText"] == [expected] * 2
    parts = {key: (None, value) for key, value in fields.items()}
    assert client.post("/translate", files=parts).json()["translatedText"] == expected
    assert client.post("/translate", params={"q": LINE, **PAIR}).json()["translatedText"] == expected
    assert len(client.post("/translate", data={**fields, "alternatives": "2"}).json()["alternatives"]) >= 1
    answer = client.post("/translate", data={**fields, "alternatives": "two"})
    assert answer.status_code == 400 and "alternatives is 'two'" in answer.json()["error"]
    answer = client.post("/translate", data={**fields, "target": ["en", "fr"]})
    assert answer.status_code == 400 and answer.json()["error"] == "target is given 2 times: expected it once"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "q is missing: expected the text to translate, or a list of texts; source is missing: expected a lang"),
        ({"q": 1, **PAIR}, "q is 1: expected a string or a list of strings"),
        ({"q": None, **PAIR}, "q is None: expected a string or a list of strings"),
        ({"q": ["a", {"b": 1}], **PAIR}, "q[2] is {'b': 1}: expected a string"),
        ({"q": "a", "target": "en"}, "source is missing: expected a language code, or auto"),
        ({"q": "a", "source": "de"}, "target is missing: expected a language code"),
        ({"q": "a", "source": ["de"], "target": "en"}, "source is ['de']: expected a valid string"),
        ({"q": "a", "source": "", "target": "en"}, "source is '': String should have at least 1 character"),
        (
            {"q": "a", "source": "fr", "target": "en"},
            "'fr' to 'en' is not supported: use source de or auto, and",
        ),
        (
            {"q": "a", "source": "de", "target": "fr"},
            "'de' to 'fr' is not supported: use source de or auto, and",
        ),
        ({"q": "a", **PAIR, "format": "pdf"}, "format is 'pdf': expected 'text', 'html' or ''"),
        ({"q": "a", **PAIR, "alternatives": -1}, "alternatives is -1: expected greater than or equal to 0"),
        ({"q": "a", **PAIR, "alternatives": "3"}, "alternatives is '3': expected a valid integer"),
        ({"q": "a", **PAIR, "alternatives": 1.5}, "alternatives is 1.5: expected a valid integer"),
        ({"q": "a", **PAIR, "alternatives": 10**400}, "alternatives is 1000"),
        ({"q": "a", **PAIR, "domain": "law"}, "domain 'law' is not served: use auto or one of general, it, kitchen"),
        ({"q": "a", **PAIR, "domain": "../x"}, "domain '../x' is not served"),
        ({"q": "a", **PAIR, "domain": 5}, "domain is 5: expected a valid string"),
        ({"q": "a", **PAIR, "domain": "\udcff"}, "domain holds half a surrogate pair"),
        ({"q": ["a", "b\ud800"], **PAIR}, "q[2] holds half a surrogate pair at character 1"),
    ],
)
def test_bad_fields_are_400_and_say_what_is_wrong(client: httpx.Client, fields: Any, complaint: str) -> None:
    body = json.dumps(fields)  # unlike httpx, with escapes, which can carry half a surrogate pair
    answer = client.post("/translate", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"] and complaint in answer.json()["error"]


@pytest.mark.parametrize(("source", "target"), [("DE", "EN"), ("de-AT", "en-GB"), ("deu_Latn", "eng_Latn")])
def test_languages_as_others_write_them(client: httpx.Client, source: str, target: str) -> None:
    assert client.post("/translate", json={"q": "", "source": source, "target": target}).status_code == 200


def test_limits(client: httpx.Client) -> None:
    answer = client.post("/translate", json={"q": ["a" * 5_000, "b"], **PAIR})
    assert answer.status_code == 413
    assert answer.json()["error"] == "the text has 5001 characters, at most 5000 are allowed per request"
    answer = client.post("/translate", json={"q": "a" * 20_001, **PAIR})
    assert answer.status_code == 413 and "larger than 20000 bytes" in answer.json()["error"]


def test_what_clients_ask_before_they_translate(client: httpx.Client) -> None:
    assert client.get("/languages").json() == [
        {"code": "de", "name": "German", "targets": ["en"]},
        {"code": "en", "name": "English", "targets": []},
    ]
    settings = client.get("/frontend/settings").json()
    assert settings["charLimit"] == 5_000 and settings["keyRequired"] is False
    assert settings["language"] == {
        "source": {"code": "de", "name": "German"},
        "target": {"code": "en", "name": "English"},
    }


def test_its_own_client(served: Served, expected: str) -> None:
    api = LibreTranslateAPI(served.url)
    assert api.translate(LINE, "de", "en") == expected
    assert api.detect(LINE) == [{"confidence": 0.0, "language": "de"}]
    assert [language["code"] for language in api.languages()] == ["de", "en"]


def test_a_batch_as_weblate_sends_it(client: httpx.Client, expected: str) -> None:
    assert {language["code"] for language in client.get("/languages").json()} == {"de", "en"}
    texts = [LINE, "%(count)d Datei gespeichert", LINE]
    answer = client.post("/translate", json={"api_key": "", "q": texts, **PAIR}, headers={"User-Agent": "Weblate/5.4"})
    translated = answer.json()["translatedText"]
    assert len(translated) == 3 and translated[0] == translated[2] == expected


def test_keys(bundles: Path, tmp_path: Path, expected: str) -> None:
    key = add_key(tmp_path / "keys.json", "team", {"requests_per_minute": 4, "characters": 400})
    with serving(bundles, keys=tmp_path / "keys.json") as served:
        fields = {"q": LINE, **PAIR}
        answer = served.client.post("/translate", json=fields)
        assert answer.status_code == 403 and "an API key is required" in answer.json()["error"]
        assert served.client.post("/translate", json={**fields, "api_key": "wrong"}).status_code == 403
        assert served.client.post("/detect", json=fields).status_code == 403
        assert served.client.get("/languages").status_code == 200
        assert served.client.get("/frontend/settings").json()["keyRequired"] is True
        assert LibreTranslateAPI(served.url, key).translate(LINE, "de", "en") == expected
        assert LibreTranslateAPI(served.url, key).detect(LINE)[0]["language"] == "de"
        bearer = {"Authorization": f"Bearer {key}"}
        assert served.client.post("/translate", json=fields, headers=bearer).status_code == 200
        answer = served.client.post("/translate", json={**fields, "q": "x" * 400}, headers=bearer)
        assert answer.status_code == 456 and "of 400 characters" in answer.json()["error"]
        assert served.client.post("/translate", json=fields, headers=bearer).status_code == 200
        answer = served.client.post("/translate", json=fields, headers=bearer)
        assert answer.status_code == 429 and "more than 4 requests per minute" in answer.json()["error"]
        assert 1 <= int(answer.headers["retry-after"]) <= 60
