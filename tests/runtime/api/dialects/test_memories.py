"""Translation memories of domains over HTTP: similar pairs are offered, exact matches answer where asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deepl
import httpx
import pytest

from fmalloc_runtime.access.keys import add_key
from tests.support.api import LINE, serving
from tests.support.bundles import SENTENCES, make_live, write_bundle

OTHER = SENTENCES["it"][1]
PAIRS = [
    (LINE, "Click <the> button to save the file."),
    (OTHER, "The server could not connect."),
    ("Klicken Sie auf %s.", "Click %s."),
    ("Warten Sie auf {name}.", "Wait."),
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remembering")
    make_live(folder, write_bundle(folder, "it", memory=PAIRS), write_bundle(folder, "kitchen", seed=2))
    return folder


@pytest.fixture(scope="module")
def client(bundles: Path) -> Iterator[httpx.Client]:
    with serving(bundles) as running:
        yield running.client


def sentences(client: httpx.Client, text: str, **fields: Any) -> list[dict[str, Any]]:
    answer = client.post("/v1/translate", json={"text": text, "domain": "it", **fields})
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["translations"]
    return [*found["sentences"], found["text"]]


def test_similar_pairs_are_offered(client: httpx.Client) -> None:
    asked = [LINE.replace("speichern", "sichern"), "Ganz anders."]
    answer = client.post("/v1/memory", json={"text": asked, "domain": "it"}).json()
    (match,), none = answer["matches"]
    assert (match["source"], match["target"], none) == (*PAIRS[0], [])
    assert 90 < match["similarity"] < 100 and answer["domain"]["name"] == "it"
    assert client.post("/v1/memory", json={"text": LINE}).json()["matches"][0][0]["similarity"] == 100
    assert client.post("/v1/memory", json={"text": asked[0], "domain": "it", "threshold": 99}).json()["matches"] == [[]]


def test_an_exact_match_answers_where_it_is_asked_for(client: httpx.Client) -> None:
    remembered, text = sentences(client, LINE, memory=True)
    assert remembered == {
        "source": LINE,
        "translation": PAIRS[0][1],
        "log_probability": None,
        "remembered": True,
    }
    assert text == PAIRS[0][1]
    for fields in ({}, {"memory": False}):
        own, text = sentences(client, LINE, **fields)
        assert "remembered" not in own and own["log_probability"] < 0 and text != PAIRS[0][1]


def test_other_sentences_are_translated_beside_it(client: httpx.Client) -> None:
    third = SENTENCES["it"][2]
    first, second, _, whole = sentences(client, f"{LINE} {third}\n{OTHER}", memory=True)
    (alone, _) = sentences(client, third)
    assert first["remembered"] and "remembered" not in second and second["translation"] == alone["translation"]
    assert whole == f"{PAIRS[0][1]} {second['translation']}\n{PAIRS[1][1]}"


def test_what_a_document_needs_is_escaped_and_tags_are_left_to_the_model(client: httpx.Client) -> None:
    found, text = sentences(client, LINE, memory=True, format="html")
    assert found["translation"] == PAIRS[0][1] and text == "Click &lt;the&gt; button to save the file."
    tagged, _ = sentences(client, f"<b>{LINE[:7]}</b>{LINE[7:]}", memory=True, format="html")
    assert "remembered" not in tagged


def test_a_translation_without_its_placeholders_is_no_answer(client: httpx.Client) -> None:
    assert sentences(client, "Klicken Sie auf %s.", memory=True)[-1] == "Click %s."
    lost, text = sentences(client, "Warten Sie auf {name}.", memory=True)
    assert "remembered" not in lost and "{name}" in text


def test_a_glossary_counts_before_the_memory(client: httpx.Client) -> None:
    (found, _) = sentences(client, LINE, memory=True, glossary={"Datei": "document"})
    assert "remembered" not in found
    (other, _) = sentences(client, LINE, memory=True, glossary={"Drucker": "printer"})
    assert other["remembered"]


def test_a_domain_without_one_says_so(client: httpx.Client) -> None:
    answer = client.post("/v1/memory", json={"text": "Salz.", "domain": "kitchen"})
    assert answer.status_code == 400 and "'kitchen' has no translation memory" in answer.json()["error"]
    (found, _) = sentences(client, SENTENCES["kitchen"][0], domain="kitchen", memory=True)
    assert "remembered" not in found


@pytest.mark.parametrize(
    "fields",
    [{"threshold": 0}, {"threshold": 101}, {"matches": 0}, {"text": ["a"] * 51}, {"text": "a" * 2_001}, {"more": 1}],
)
def test_bad_fields_are_400(client: httpx.Client, fields: dict[str, Any]) -> None:
    assert client.post("/v1/memory", json={"text": LINE, "domain": "it", **fields}).status_code == 400


def test_deepls_client_lists_and_uses_it(client: httpx.Client) -> None:
    translator = deepl.DeepLClient("any", server_url=str(client.base_url))
    (memory,) = translator.list_translation_memories()
    assert (memory.translation_memory_id, memory.name, memory.segment_count) == ("it", "it", 4)
    assert (memory.source_language, memory.target_languages) == ("de", ["en"])
    found = translator.translate_text(
        [LINE, SENTENCES["it"][2]],
        target_lang="EN-US",
        translation_memory=memory,
        translation_memory_threshold=80,
    )
    plain = translator.translate_text(SENTENCES["it"][2], target_lang="EN-US", extra_body_parameters={"domain": "it"})
    assert isinstance(found, list) and isinstance(plain, deepl.TextResult)
    assert [one.text for one in found] == [PAIRS[0][1], plain.text]
    for name in ("kitchen", "nowhere"):
        with pytest.raises(deepl.DeepLException, match="translation_memory_id"):
            translator.translate_text(LINE, target_lang="EN-US", translation_memory=name)
    with pytest.raises(deepl.DeepLException, match="a memory is that of its domain"):
        translator.translate_text(
            LINE, target_lang="EN-US", translation_memory="it", extra_body_parameters={"domain": "kitchen"}
        )


def test_only_key_holders_see_text(bundles: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "team", {})
    with serving(bundles, keys=tmp_path / "keys.json") as running:
        ask = {"text": LINE, "domain": "it"}
        assert running.client.post("/v1/memory", json=ask).status_code == 403
        assert running.client.get("/v3/translation_memories").status_code == 403
        bearer = {"Authorization": f"Bearer {key}"}
        assert running.client.post("/v1/memory", json=ask, headers=bearer).status_code == 200
