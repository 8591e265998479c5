"""The description of the HTTP interface, and the page that draws it."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema_rs import Draft202012Validator, meta

from tests.support.api import serving


@pytest.fixture(scope="module")
def description(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_it_is_openapi_and_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    assert description["openapi"] == "3.1.0"
    schemas = description["components"]["schemas"]
    for schema in schemas.values():
        meta.validate(schema)
    references = set(re.findall(r"#/components/schemas/(\w+)", str(description)))
    assert references and references <= set(schemas)
    assert not re.search(r"x-limit|x-served|fmalloc_runtime__", str(description))
    identifiers = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(identifiers) == len(set(identifiers))


def test_every_operation_is_served_and_says_how_it_fails(client: httpx.Client, description: dict[str, Any]) -> None:
    for path, method, operation in operations(description):
        answer = client.request(method, path.replace("{model}", "it").replace("{version}", "none"))
        assert answer.status_code not in (405, 500), path
        assert str(answer.status_code) in operation["responses"], path
        assert {"500", "503"} <= set(operation["responses"])
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in operation["responses"][str(answer.status_code)]["content"]


def test_limits_and_domains_are_those_of_this_server(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    fields = schemas["NativeTranslateFields"]["properties"]
    assert fields["domain"]["anyOf"][0]["enum"] == ["auto", "general", "it", "kitchen"]
    assert fields["beam_size"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 8}
    assert fields["text"]["anyOf"][0]["maxLength"] == 5_000
    assert schemas["LibretranslateTranslateFields"]["properties"]["source"]["enum"] == ["auto", "de"]
    assert schemas["DeeplTranslateFields"]["properties"]["target_lang"]["enum"] == ["EN-GB", "EN-US"]


def test_answers_have_the_shape_that_is_described(client: httpx.Client, description: dict[str, Any]) -> None:
    for method, path, body in (
        ("POST", "/translate", {"q": ["Salz.", ""], "source": "auto", "target": "en", "alternatives": 2}),
        ("POST", "/v2/translate", {"text": ["Salz."], "target_lang": "EN", "show_billed_characters": True}),
        ("POST", "/v1/translate", {"text": "Salz. Salz.", "alternatives": 2, "alignment": True}),
        ("POST", "/v1/translate", {"text": "Salz, %s.", "glossary": {"Salz": "salt"}}),
        ("POST", "/v1/route", {"text": "Salz."}),
        ("GET", "/v1/domains", None),
        ("GET", "/readyz", None),
        ("GET", "/v2/models/it", None),
        ("GET", "/frontend/settings", None),
    ):
        described = description["paths"][path.replace("/it", "/{model}")][method.lower()]["responses"]["200"]
        schema = {**described["content"]["application/json"]["schema"], "components": description["components"]}
        Draft202012Validator(schema).validate(client.request(method, path, json=body).json())


def test_before_anything_is_served_it_names_no_domains(bundles: Path) -> None:
    with serving(bundles, load=False) as running:
        fields = running.client.get("/openapi.json").json()["components"]["schemas"]["NativeTranslateFields"]
        assert fields["properties"]["domain"]["anyOf"][0] == {"type": "string"}


def test_the_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"static/docs.js", "static/docs.css", "openapi.json"} <= set(linked)
    for link in linked:
        answer = client.get(f"/{link}")
        text = answer.text.replace("http://127.0.0.1", "").replace("http://www.w3.org/2000/svg", "")
        assert answer.status_code == 200 and "http://" not in text


def test_the_page_can_be_left_out(bundles: Path) -> None:
    with serving(bundles, load=False, page=False) as running:
        assert running.client.get("/docs").status_code == 404
        assert running.client.get("/openapi.json").status_code == 200


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method.upper(), operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
