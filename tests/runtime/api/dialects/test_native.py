"""Our own endpoints: domains, routing without translating, and translations with all that is known of them."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from fmalloc_runtime.access.keys import add_key
from tests.support.api import LINE, serving
from tests.support.bundles import SENTENCES, bundle_of


def test_domains_say_what_is_served(client: httpx.Client, bundles: Path) -> None:
    body = client.get("/v1/domains").json()
    assert sorted(body) == ["codes", "domains", "features", "languages", "threshold"]
    assert body["languages"] == body["codes"] == {"source": "de", "target": "en"} and 0 < body["threshold"] < 1
    assert [domain["name"] for domain in body["domains"]] == ["general", "it", "kitchen"]
    assert [domain["default"] for domain in body["domains"]] == [True, False, False]
    it = body["domains"][1]
    files = bundle_of(bundles, "it").rglob("*")
    assert it == {
        "name": "it",
        "bundle": bundle_of(bundles, "it").name,
        "engine": "ctranslate2",
        "quantization": "float32",
        "level": "O0",
        "loaded": True,
        "default": False,
        "quality": None,
        "confidence": None,
        "memory": None,
        "glossary": None,
        "size_bytes": sum(path.stat().st_size for path in files if path.is_file()),
        "widths": {"encoder.0": 24, "decoder.0": 24},
    }


def test_features_are_what_the_settings_turn_on(client: httpx.Client, bundles: Path, tmp_path: Path) -> None:
    features = client.get("/v1/domains").json()["features"]
    assert (features["glossaries"], features["corrections"]) == (False, False)
    assert ".docx" in features["documents"]["suffixes"] and features["documents"]["bytes"] == 10 * 2**20
    with serving(bundles, documents=0, glossaries=tmp_path / "kept", corrections=tmp_path / "log") as running:
        features = running.client.get("/v1/domains").json()["features"]
        assert features == {"glossaries": True, "corrections": True, "documents": None}


def test_a_sentence_says_where_terms_stand(client: httpx.Client) -> None:
    fields = {"text": f"{LINE} Ja, %s 😀.", "glossary": {"Datei": "dossier", "Schaltfläche": "knob"}}
    first, second = client.post("/v1/translate", json=fields).json()["translations"][0]["sentences"]
    pairs = [(first["source"][slice(*at)], first["translation"][slice(*to)]) for at, to in first["terms"]]
    assert [(source, target.lower()) for source, target in pairs] == [("Schaltfläche", "knob"), ("Datei", "dossier")]
    assert second["terms"] == []


def test_a_route_has_scores_and_a_reason_and_translates_nothing(client: httpx.Client, bundles: Path) -> None:
    domain = client.post("/v1/route", json={"text": SENTENCES["kitchen"][0]}).json()["domain"]
    assert (domain["name"], domain["reason"]) == ("kitchen", "detected")
    assert domain["bundle"] == bundle_of(bundles, "kitchen").name
    assert sum(domain["scores"].values()) == pytest.approx(1.0)
    together = client.post("/v1/route", json={"text": [SENTENCES["it"][0], *SENTENCES["kitchen"]]}).json()["domain"]
    assert together["name"] == "kitchen"
    asked = client.post("/v1/route", json={"text": LINE, "domain": "general"}).json()["domain"]
    assert (asked["name"], asked["reason"]) == ("general", "asked for")
    answer = client.post("/v1/route", json={"text": LINE, "domain": "law"})
    assert answer.status_code == 400 and "use auto or one of general, it, kitchen" in answer.json()["error"]


def test_a_translation_has_its_sentences(client: httpx.Client, expected: str) -> None:
    body = client.post("/v1/translate", json={"text": f"{LINE}\n{LINE}"}).json()
    assert sorted(body) == ["domain", "seconds", "translations"]
    (translation,) = body["translations"]
    assert sorted(translation) == ["alternatives", "sentences", "text"]
    assert translation["text"] == f"{expected}\n{expected}" and translation["alternatives"] == []
    assert len(translation["sentences"]) == 2
    for sentence in translation["sentences"]:
        assert sorted(sentence) == ["log_probability", "missing", "numbers", "source", "translation"]
        assert (sentence["numbers"], sentence["missing"]) == ("kept", [])
        assert (sentence["source"], sentence["translation"]) == (LINE, expected) and sentence["log_probability"] < 0
    assert {"tokenise", "queue", "inference"} <= set(body["seconds"])


def test_a_sentence_says_what_became_of_its_numbers(client: httpx.Client) -> None:
    line = f"{LINE} 104/2000"
    body = client.post("/v1/translate", json={"text": line}).json()
    (sentence,) = body["translations"][0]["sentences"]
    assert sentence["numbers"] in ("restored", "missing")
    assert sentence["missing"] == ([] if "104/2000" in sentence["translation"] else ["104/2000"])
    unprotected = client.post("/v1/translate", json={"text": line, "protect": False}).json()
    assert sorted(unprotected["translations"][0]["sentences"][0]) == ["log_probability", "source", "translation"]
    assert f'fmalloc_numbers_total{{domain="{body["domain"]["name"]}",result="{sentence["numbers"]}"}}' in (
        client.get("/metrics").text
    )


def test_alignments_are_spans_of_both_sides(client: httpx.Client) -> None:
    body = client.post("/v1/translate", json={"text": LINE, "alignment": True}).json()
    (sentence,) = body["translations"][0]["sentences"]
    assert sentence["alignment"]
    for (begin, end), (target_begin, target_end) in sentence["alignment"]:
        assert 0 <= begin < end <= len(sentence["source"])
        assert 0 <= target_begin < target_end <= len(sentence["translation"])


def test_search_is_the_clients_choice(client: httpx.Client) -> None:
    body = client.post("/v1/translate", json={"text": LINE, "beam_size": 1, "max_length": 3}).json()
    assert len(body["translations"][0]["text"].split()) <= 3
    body = client.post("/v1/translate", json={"text": LINE, "alternatives": 5}).json()
    assert len(body["translations"][0]["alternatives"]) == 5


def test_lines_can_be_kept_whole(client: httpx.Client) -> None:
    text = "Das ist ein Satz. Das ist noch einer."
    for split, sources in ({}, ["Das ist ein Satz.", "Das ist noch einer."]), ({"split": "lines"}, [text]):
        body = client.post("/v1/translate", json={"text": text, **split}).json()
        assert [sentence["source"] for sentence in body["translations"][0]["sentences"]] == sources


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "text is missing: expected the text to translate, or a list of texts"),
        ({"text": "a", "beamsize": 2}, "'beamsize' is not a field: expected one of text, domain, format, beam_size"),
        ({"text": "a", "beam_size": 9}, "beam_size is 9: at most 8 is allowed"),
        ({"text": "a", "beam_size": 0}, "beam_size is 0: expected greater than or equal to 1"),
        ({"text": "a", "beam_size": True}, "beam_size is True: expected a valid integer"),
        ({"text": "a", "alternatives": 6}, "alternatives is 6: at most 5 are allowed"),
        ({"text": "a", "alternatives": 2, "beam_size": 2}, "alternatives is 2: a beam_size of 2 gives 1"),
        ({"text": "a", "max_length": 0}, "max_length is 0: expected greater than or equal to 1"),
        ({"text": "a", "format": "pdf"}, "format is 'pdf': expected 'text', 'html' or 'xml'"),
        ({"text": "a", "split": "words"}, "split is 'words': expected 'sentences', 'lines' or 'none'"),
        ({"text": "a", "alignment": "yes"}, "alignment is 'yes': expected a valid boolean"),
        ({"text": ["a", None]}, "text[2] is None: expected a string"),
    ],
)
def test_bad_fields_are_400_and_say_what_is_wrong(client: httpx.Client, fields: Any, complaint: str) -> None:
    answer = client.post("/v1/translate", json=fields)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"] and complaint in answer.json()["error"]


def test_forms_are_no_bodies_here(client: httpx.Client) -> None:
    for path in ("/v1/translate", "/v1/route"):
        answer = client.post(path, data={"text": LINE})
        assert answer.status_code == 415 and answer.json()["error"].endswith("expected application/json")
        assert client.post(path).status_code == 415
        assert client.post(path, json={"text": "a" * 5_001}).status_code == 413


def test_keys(bundles: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "team", {})
    with serving(bundles, keys=tmp_path / "keys.json") as served:
        headers = {"Authorization": f"Bearer {key}"}
        for method, path, body in (
            ("GET", "/v1/domains", None),
            ("POST", "/v1/route", {"text": LINE}),
            ("POST", "/v1/translate", {"text": LINE}),
        ):
            answer = served.client.request(method, path, json=body)
            assert answer.status_code == 403 and "an API key is required" in answer.json()["error"]
            assert served.client.request(method, path, json=body, headers=headers).status_code == 200
        usage = served.client.get("/v2/usage", headers=headers).json()
        assert usage == {"character_count": len(LINE), "character_limit": 10**12}
