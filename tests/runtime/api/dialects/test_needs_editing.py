"""The estimate of what needs editing, in every dialect under one name."""

from collections.abc import Iterator

import deepl
import httpx
import pytest
from libretranslatepy import LibreTranslateAPI

from tests.support.api import LINE, PAIR, Served, serving
from tests.support.bundles import SENTENCES, make_live, write_bundle
from tests.support.estimates import write_judged_bundle


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose domain `it` has an estimate, and `kitchen` none."""
    bundles = tmp_path_factory.mktemp("judged")
    estimated = write_judged_bundle(bundles, "it", intercept=-2.0, log_probability=-0.9)
    make_live(bundles, estimated, write_bundle(bundles, "kitchen", seed=2))
    with serving(bundles) as running:
        yield running


@pytest.fixture(scope="module")
def estimates(judged: Served) -> list[float]:
    """Of the sentences of LINE and another, by our own protocol."""
    answer = judged.client.post("/v1/translate", json={"text": [LINE, SENTENCES["it"][1]], "domain": "it"}).json()
    return [sentence["needs_editing"] for text in answer["translations"] for sentence in text["sentences"]]


def test_our_own_protocol_has_it_for_each_sentence(judged: Served, estimates: list[float]) -> None:
    assert len(set(estimates)) == 2 and all(0 < estimate < 1 for estimate in estimates)
    domains = {one["name"]: one for one in judged.client.get("/v1/domains").json()["domains"]}
    assert domains["it"]["confidence"]["estimate"]["auroc"] == 0.75
    assert domains["kitchen"]["confidence"] is None


def test_a_domain_without_an_estimate_has_no_field(judged: Served) -> None:
    for path, fields in (
        ("/v1/translate", {"text": LINE}),
        ("/translate", {"q": LINE, **PAIR}),
        ("/v2/translate", {"text": [LINE], "target_lang": "EN"}),
    ):
        answer = judged.client.post(path, json={**fields, "domain": "kitchen"})
        assert answer.status_code == 200 and "needs_editing" not in answer.text


def test_deepls_has_that_of_the_most_doubtful_sentence(judged: Served, estimates: list[float]) -> None:
    body = {"text": [f"{LINE} {SENTENCES['it'][1]}", LINE, ""], "target_lang": "EN", "domain": "it"}
    answer = judged.client.post("/v2/translate", json=body).json()
    found = [text.get("needs_editing") for text in answer["translations"]]
    assert found == [max(estimates), estimates[0], None]


def test_libretranslates_is_a_number_or_a_list_as_the_text(judged: Served, estimates: list[float]) -> None:
    ask = {**PAIR, "domain": "it"}
    one = judged.client.post("/translate", json={"q": LINE, **ask}).json()
    several = judged.client.post("/translate", json={"q": [LINE, "", SENTENCES["it"][1]], **ask}).json()
    assert one["needs_editing"] == estimates[0]
    assert several["needs_editing"] == [estimates[0], None, estimates[1]]


def test_clients_of_both_protocols_take_it(judged: Served) -> None:
    translator = deepl.DeepLClient("any", server_url=judged.url)
    found = translator.translate_text(LINE, target_lang="EN-US", extra_body_parameters={"domain": "it"})
    assert isinstance(found, deepl.TextResult) and found.text
    assert LibreTranslateAPI(f"{judged.url}/").translate(LINE, "de", "en") == found.text


def test_the_documentation_names_it(judged: Served) -> None:
    schemas = httpx.get(f"{judged.url}/openapi.json").json()["components"]["schemas"]
    assert sum("needs_editing" in schema.get("properties", {}) for schema in schemas.values()) >= 3
