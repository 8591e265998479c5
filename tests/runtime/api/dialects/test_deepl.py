"""DeepL's protocol, spoken by its own client and in the shapes that Weblate sends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deepl
import httpx
import pytest

from fmalloc_runtime.access.keys import add_key
from fmalloc_runtime.api.dialects.deepl_fields import TEXTS_LIMIT
from tests.support.api import LINE, Served, serving
from tests.support.bundles import SENTENCES, bundle_of


@pytest.fixture(scope="module")
def keyed(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """A server that asks for keys, and one that it knows."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    key = add_key(path, "team", {"characters": 2_000})
    with serving(bundles, keys=path, text_limit=1_500) as running:
        yield running, key


@pytest.fixture(scope="module")
def translator(keyed: tuple[Served, str]) -> deepl.Translator:
    served, key = keyed
    return deepl.DeepLClient(key, server_url=served.url)


def translations(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["text"] for item in answer.json()["translations"]]


def test_its_own_client_translates(translator: deepl.DeepLClient, expected: str) -> None:
    one = translator.translate_text(LINE, target_lang="EN-US")
    assert isinstance(one, deepl.TextResult)
    assert (one.text, one.detected_source_lang, one.billed_characters) == (expected, "DE", len(LINE))
    texts = [LINE, "", LINE]
    several = translator.translate_text(texts, source_lang="DE", target_lang="EN-GB", formality="prefer_more")
    assert isinstance(several, list) and [item.text for item in several] == [expected, "", expected]


def test_its_own_client_names_a_domain(keyed: tuple[Served, str], translator: deepl.DeepLClient) -> None:
    routes = keyed[0].service.metrics.routes.labels("kitchen", "yes")
    before = routes._value.get()
    translator.translate_text("Salz.", target_lang="EN-US", extra_body_parameters={"domain": "kitchen"})
    assert routes._value.get() == before + 1
    with pytest.raises(deepl.DeepLException, match="domain 'law' is not served: use auto or one of general, it, kit"):
        translator.translate_text(LINE, target_lang="EN-US", extra_body_parameters={"domain": "law"})


@pytest.mark.parametrize("handling", ["xml", "html"])
def test_its_own_client_sends_tags(translator: deepl.DeepLClient, handling: str) -> None:
    text = 'Klicken Sie auf <b>Datei</b> und <x id="1"></x>.'
    found = translator.translate_text(text, target_lang="EN-US", tag_handling=handling, ignore_tags=["x", "code"])
    assert isinstance(found, deepl.TextResult)
    assert found.text.count("<b>") == found.text.count("</b>") == 1 and found.text.count('<x id="1"></x>') == 1


def test_its_own_client_asks_for_languages_and_usage(keyed: tuple[Served, str], translator: deepl.DeepLClient) -> None:
    assert [(item.code, item.name) for item in translator.get_source_languages()] == [("DE", "German")]
    targets = [(item.code, item.name, item.supports_formality) for item in translator.get_target_languages()]
    assert targets == [("EN-GB", "English (British)", False), ("EN-US", "English (American)", False)]
    assert translator.get_glossary_languages() == []
    before = translator.get_usage().character
    translator.translate_text("Salz.", target_lang="EN-US")
    after = translator.get_usage().character
    assert (after.count or 0) - (before.count or 0) == 5 and after.limit == 2_000
    with pytest.raises(deepl.DeepLException, match="domain 'law' is not served"):
        translator.translate_text("Pfeffer.", target_lang="EN-US", extra_body_parameters={"domain": "law"})
    assert translator.get_usage().character.count == after.count


def test_its_own_client_is_told_what_is_wrong(keyed: tuple[Served, str], translator: deepl.DeepLClient) -> None:
    served, _ = keyed
    with pytest.raises(deepl.AuthorizationException):
        deepl.Translator("wrong", server_url=served.url).translate_text(LINE, target_lang="EN-US")
    with pytest.raises(deepl.DeepLException, match="413.*1501 characters, at most 1500 are allowed"):
        translator.translate_text("a" * 1_501, target_lang="EN-US")
    with pytest.raises(deepl.QuotaExceededException, match="of 2000 characters are used this month"):
        for _ in range(3):
            translator.translate_text("Salz " * 200, target_lang="EN-US")
    with pytest.raises(deepl.DeepLException, match="target_lang.* 'FR', expected 'EN-GB' or 'EN-US'"):
        translator.translate_text("a", target_lang="FR")
    with pytest.raises(deepl.AuthorizationException, match="this server keeps no glossaries"):
        translator.translate_text("a", source_lang="DE", target_lang="EN-US", glossary="deadbeef")
    with pytest.raises(deepl.DeepLException, match="formality is 'more': expected 'default', 'prefer_more' or"):
        translator.translate_text("a", target_lang="EN-US", formality="more")


def test_keys_come_in_the_header_or_as_legacy_fields(keyed: tuple[Served, str]) -> None:
    served, key = keyed
    for headers in ({}, {"Authorization": "DeepL-Auth-Key wrong"}, {"Authorization": f"Basic {key}"}):
        for path in ("/v2/languages", "/v2/usage", "/v2/translate?text=&target_lang=EN"):
            answer = served.client.get(path, headers=headers)
            assert answer.status_code == 403 and list(answer.json()) == ["message"]
    for headers in ({"Authorization": f"DeepL-Auth-Key {key}"}, {"authorization": f"bearer {key}"}):
        assert served.client.get("/v2/usage", headers=headers).status_code == 200
    assert served.client.post("/v2/usage", data={"auth_key": key}).status_code == 200
    assert served.client.get("/v2/languages", params={"auth_key": key, "type": "source"}).status_code == 200


def test_json_forms_and_query_strings_say_the_same(client: httpx.Client, bundles: Path, expected: str) -> None:
    fields: dict[str, Any] = {"text": [LINE, LINE], "target_lang": "EN", "split_sentences": "1"}
    answer = client.post("/v2/translate", json=fields)
    assert translations(answer) == [expected, expected]
    assert answer.json()["translations"][0] == {"detected_source_language": "DE", "text": expected}
    assert answer.json()["domain"]["bundle"] == bundle_of(bundles, "it").name
    assert translations(client.post("/v2/translate", data=fields)) == [expected, expected]
    assert translations(client.get("/v2/translate", params=fields)) == [expected, expected]
    assert translations(client.post("/v2/translate", params=fields)) == [expected, expected]
    parts = [("text", (None, LINE)), ("text", (None, LINE)), ("target_lang", (None, "EN"))]
    assert translations(client.post("/v2/translate", files=parts)) == [expected, expected]
    form = {**fields, "show_billed_characters": "1", "preserve_formatting": "0", "formality": "", "ignore_tags": "x,y"}
    assert client.post("/v2/translate", data=form).json()["translations"][0]["billed_characters"] == len(LINE)


def test_context_helps_to_find_the_domain_and_is_not_translated(client: httpx.Client) -> None:
    fields = {"text": ["Ja."], "target_lang": "EN", "context": "\n".join(SENTENCES["kitchen"])}
    answer = client.post("/v2/translate", json=fields)
    assert answer.json()["domain"]["name"] == "kitchen" and len(translations(answer)) == 1
    assert client.post("/v2/translate", json={**fields, "context": "a" * 5_000}).status_code == 413


def test_newlines_can_be_ignored(client: httpx.Client, expected: str) -> None:
    first, rest = LINE.split(", ")
    fields = {"text": [f"{first},\n{rest}\n\n{LINE}\n"], "target_lang": "EN", "split_sentences": "nonewlines"}
    assert translations(client.post("/v2/translate", json=fields)) == [f"{expected}\n\n{expected}\n"]
    assert len(translations(client.post("/v2/translate", json={**fields, "split_sentences": 0}))) == 1


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "text is missing: expected the text to translate, or a list of texts; target_lang is missing"),
        ({"text": []}, "text is given 0 times: expected 1 to 50 texts per request"),
        ({"text": ["a"] * (TEXTS_LIMIT + 1)}, "text is given 51 times: expected 1 to 50 texts per request"),
        ({"text": ["a", 7]}, "text[2] is 7: expected a string"),
        ({"text": ["a"], "source_lang": "FR"}, "Value for 'source_lang' not supported: 'FR', expected 'DE'"),
        ({"text": ["a"], "target_lang": "DE"}, "Value for 'target_lang' not supported: 'DE', expected 'EN-GB' or"),
        ({"text": ["a"], "tag_handling": "markdown"}, "tag_handling is 'markdown': expected 'xml', 'html' or ''"),
        ({"text": ["a"], "split_sentences": "2"}, "split_sentences is '2': expected '0', '1' or 'nonewlines'"),
        ({"text": ["a"], "ignore_tags": ["x", 5]}, "ignore_tags[2] is 5: expected a valid string"),
        ({"text": ["a"], "ignore_tags": "x," * 1_001}, "ignore_tags has 1001 tags, at most 1000 are allowed"),
        ({"text": ["a"], "preserve_formatting": "yes"}, "preserve_formatting is 'yes': expected a valid boolean"),
        ({"text": ["a"], "style_id": "s"}, "style_id is not supported here: leave it out"),
        ({"text": ["a"], "custom_instructions": ["Use Swiss spelling"]}, "custom_instructions is not supported here"),
    ],
)
def test_bad_fields_are_400_and_say_what_is_wrong(client: httpx.Client, fields: dict[str, Any], complaint: str) -> None:
    if fields:
        fields = {"target_lang": "EN", **fields}
    answer = client.post("/v2/translate", json=fields)
    assert answer.status_code == 400
    assert list(answer.json()) == ["message"] and complaint in answer.json()["message"]


def test_errors_of_the_path_itself_are_messages_too(client: httpx.Client) -> None:
    answer = client.delete("/v2/translate")
    assert answer.status_code == 405 and answer.json() == {"message": "Method Not Allowed"}
    assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD", "POST"]
    assert client.get("/v2/glossary/1").json()["message"] == "Not Found"


def test_a_batch_as_weblate_sends_it(client: httpx.Client, expected: str) -> None:
    """Placeholders are XML elements whose content is not translated; the rest is escaped."""
    sources = {item["language"] for item in client.get("/v2/languages", params={"type": "source"}).json()}
    targets = {item["language"] for item in client.get("/v2/languages", params={"type": "target"}).json()}
    assert sources == {"DE"} and targets == {"EN-GB", "EN-US"}
    assert client.get("/v2/glossary-language-pairs").json() == {"supported_languages": []}
    texts = [
        LINE,
        'Der Server <x id="11"></x> konnte die Verbindung zu <x id="40"></x> nicht herstellen.',
        '<x id="0"></x> Dateien &amp; Ordner',
        '<x id="0"></x>',
    ]
    for target in ("EN", "EN-GB"):
        body = {
            "text": texts,
            "source_lang": "DE",
            "target_lang": target,
            "formality": "default",
            "tag_handling": "xml",
            "ignore_tags": ["x"],
            "model_type": "prefer_quality_optimized",
            "context": "Eine Anwendung",
        }
        headers = {"Authorization": "DeepL-Auth-Key any", "Content-Type": "application/json"}
        found = translations(client.post("/v2/translate", content=json.dumps(body), headers=headers))
        assert found[0] == expected and found[3] == texts[3]
        for text, translation in zip(texts, found, strict=True):
            for number in ("0", "11", "40"):
                placeholder = f'<x id="{number}"></x>'
                assert translation.count(placeholder) == text.count(placeholder)
