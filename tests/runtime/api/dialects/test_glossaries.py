"""DeepL's glossaries, by its own client, and the terms of requests."""

from collections.abc import Iterator
from pathlib import Path

import deepl
import httpx
import pytest
from deepl.api_data import MultilingualGlossaryDictionaryEntries as Entries

from fmalloc_runtime.access.keys import add_key
from tests.support.api import LINE, Served, serving

ENTRIES = {"Datei": "dossier", "Schaltfläche": "knob"}


@pytest.fixture(scope="module")
def served(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, list[str]]]:
    """A server that keeps glossaries, and two keys."""
    folder = tmp_path_factory.mktemp("glossaries")
    keys = [add_key(folder / "keys.json", name, {}) for name in ("one", "two")]
    kept = folder / "kept"
    with serving(bundles, keys=folder / "keys.json", glossaries=kept, glossaries_limit=20_000) as running:
        yield running, keys


@pytest.fixture(scope="module")
def client(served: tuple[Served, list[str]]) -> deepl.DeepLClient:
    running, (key, _) = served
    return deepl.DeepLClient(key, server_url=running.url)


@pytest.fixture(scope="module")
def other(served: tuple[Served, list[str]]) -> deepl.DeepLClient:
    running, (_, key) = served
    return deepl.DeepLClient(key, server_url=running.url)


def text(client: deepl.DeepLClient, **options: object) -> str:
    found = client.translate_text(LINE, source_lang="DE", target_lang="EN-US", **options)  # type: ignore[arg-type]
    assert isinstance(found, deepl.TextResult)
    return found.text.lower()


def test_the_served_pair_has_glossaries(client: deepl.DeepLClient) -> None:
    assert [(pair.source_lang, pair.target_lang) for pair in client.get_glossary_languages()] == [("de", "en")]


def test_a_glossary_is_made_listed_used_and_deleted(client: deepl.DeepLClient) -> None:
    made = client.create_glossary("Büro", "DE", "EN-US", ENTRIES)
    assert (made.name, made.source_lang, made.target_lang, made.entry_count, made.ready) == (
        "Büro",
        "DE",
        "EN",
        2,
        True,
    )
    assert client.get_glossary(made.glossary_id).creation_time == made.creation_time
    assert made.glossary_id in [glossary.glossary_id for glossary in client.list_glossaries()]
    assert client.get_glossary_entries(made) == ENTRIES
    assert "dossier" not in text(client) and "knob" not in text(client)
    assert "dossier" in text(client, glossary=made) and "knob" in text(client, glossary=made.glossary_id)
    found = client.translate_text_with_glossary(LINE, made, target_lang="EN-US")
    assert isinstance(found, deepl.TextResult) and "dossier" in found.text.lower()
    client.delete_glossary(made)
    with pytest.raises(deepl.GlossaryNotFoundException, match="no glossary"):
        client.get_glossary(made.glossary_id)
    with pytest.raises(deepl.DeepLException, match="no glossary"):
        text(client, glossary=made.glossary_id)


def test_csv_as_deepl_exports_it(client: deepl.DeepLClient) -> None:
    made = client.create_glossary_from_csv("csv", "DE", "EN", 'Datei,"dossier, file",de,en\nfile,Datei,en,de\n')
    assert client.get_glossary_entries(made) == {"Datei": "dossier, file"}


def test_a_glossary_of_several_pairs(client: deepl.DeepLClient) -> None:
    pairs = [Entries("DE", "EN", ENTRIES), Entries("EN", "DE", {"file": "Datei"})]
    made = client.create_multilingual_glossary("both", pairs)
    assert [(each.source_lang, each.target_lang, each.entry_count) for each in made.dictionaries] == [
        ("DE", "EN", 2),
        ("EN", "DE", 1),
    ]
    assert "dossier" in text(client, glossary=made)
    assert client.update_multilingual_glossary_name(made, "Both").name == "Both"
    changed = client.update_multilingual_glossary_dictionary(
        made, Entries("DE", "EN", {"Datei": "folio", "Maus": "mouse"})
    )
    assert sorted(each.entry_count for each in changed.dictionaries) == [1, 3]
    (entries,) = client.get_multilingual_glossary_entries(made, "DE", "EN").dictionaries
    assert entries.entries == "Datei\tfolio\nSchaltfläche\tknob\nMaus\tmouse"  # type: ignore[comparison-overlap]
    assert "folio" in text(client, glossary=made)
    replaced = client.replace_multilingual_glossary_dictionary(made, Entries("DE", "EN", {"Datei": "tome"}))
    assert replaced.entry_count == 1 and "tome" in text(client, glossary=made)
    with pytest.raises(deepl.GlossaryNotFoundException, match="several language pairs: ask for it at /v3"):
        client.get_glossary(made.glossary_id)
    client.delete_multilingual_glossary_dictionary(made, source_lang="DE", target_lang="EN")
    with pytest.raises(deepl.DeepLException, match="has no dictionary from de to en"):
        text(client, glossary=made.glossary_id)
    assert [each.target_lang for each in client.get_multilingual_glossary(made.glossary_id).dictionaries] == ["DE"]
    assert made.glossary_id in [each.glossary_id for each in client.list_multilingual_glossaries()]
    client.delete_multilingual_glossary(made)
    with pytest.raises(deepl.GlossaryNotFoundException):
        client.get_multilingual_glossary(made.glossary_id)


def test_of_several_glossaries_the_first_counts(client: deepl.DeepLClient) -> None:
    first = client.create_multilingual_glossary("first", [Entries("DE", "EN", {"Datei": "dossier"})])
    second = client.create_multilingual_glossary(
        "second", [Entries("DE", "EN", {"Datei": "x", "Schaltfläche": "knob"})]
    )
    found = text(client, glossary_ids=[first, second])
    assert "dossier" in found and "knob" in found


def test_a_document_with_a_glossary(client: deepl.DeepLClient, tmp_path: Path) -> None:
    made = client.create_glossary("document", "DE", "EN", ENTRIES)
    (tmp_path / "in.txt").write_text(LINE)
    client.translate_document_from_filepath(
        tmp_path / "in.txt", tmp_path / "out.txt", source_lang="DE", target_lang="EN-US", glossary=made
    )
    assert "dossier" in (tmp_path / "out.txt").read_text().lower()


def test_another_key_sees_none_of_them(client: deepl.DeepLClient, other: deepl.DeepLClient) -> None:
    made = client.create_glossary("mine", "DE", "EN", ENTRIES)
    assert made.glossary_id not in [glossary.glossary_id for glossary in other.list_glossaries()]
    with pytest.raises(deepl.GlossaryNotFoundException):
        other.get_glossary_entries(made)
    with pytest.raises(deepl.DeepLException, match="no glossary"):
        text(other, glossary=made)
    with pytest.raises(deepl.GlossaryNotFoundException):
        other.delete_glossary(made)


def test_what_is_wrong_is_said(client: deepl.DeepLClient, served: tuple[Served, list[str]]) -> None:
    with pytest.raises(deepl.DeepLException, match="entries:2: 'Datei' is there already, in line 1"):
        client.create_glossary_from_csv("twice", "DE", "EN", "Datei,file\nDatei,document\n")
    with pytest.raises(deepl.QuotaExceededException, match="at most 20000 are kept: delete some"):
        client.create_glossary("large", "DE", "EN", {f"Wort {number}": "word" for number in range(900)})
    running, (key, _) = served
    key_header = {"Authorization": f"DeepL-Auth-Key {key}"}
    wanted = {"text": [LINE], "target_lang": "EN", "glossary_id": "x"}
    answer = running.client.post("/v2/translate", json=wanted, headers=key_header)
    assert answer.status_code == 400 and "source_lang is missing" in answer.json()["message"]
    for method, path in (("GET", "/v2/glossaries"), ("DELETE", "/v3/glossaries/x"), ("GET", "/v3/glossaries/x")):
        assert running.client.request(method, path).status_code == 403
    for id_ in ("x", "..%2Fkeys", "0" * 36):
        assert running.client.delete(f"/v3/glossaries/{id_}", headers=key_header).status_code == 404
    answer = running.client.patch("/v3/glossaries/x", json={}, headers=key_header)
    assert answer.status_code == 400 and "name and dictionaries are missing" in answer.json()["message"]


def test_our_own_requests_bring_terms(served: tuple[Served, list[str]], client: deepl.DeepLClient) -> None:
    running, (key, _) = served
    headers = {"Authorization": f"Bearer {key}"}

    def ask(**fields: object) -> httpx.Response:
        return running.client.post("/v1/translate", json={"text": LINE, **fields}, headers=headers)

    made = client.create_glossary("own", "DE", "EN", ENTRIES)
    found = ask(glossary={"Datei": "folio"}, glossary_id=made.glossary_id).json()["translations"][0]["text"].lower()
    assert "folio" in found and "knob" in found and "dossier" not in found
    assert ask(glossary={"Datei": ""}).json()["error"] == "glossary: 'Datei': a term is empty"
    assert ask(glossary_id="none").status_code == 404


def test_without_a_folder_none_are_kept(bundles: Path) -> None:
    with serving(bundles) as running:
        plain = deepl.DeepLClient("any", server_url=running.url)
        assert plain.get_glossary_languages() == []
        with pytest.raises(deepl.AuthorizationException, match="keeps no glossaries: its operator may turn that on"):
            plain.create_glossary("a", "DE", "EN", ENTRIES)
        answer = running.client.post("/v1/translate", json={"text": LINE, "glossary": {"Datei": "folio"}})
        assert "folio" in answer.json()["translations"][0]["text"].lower()
