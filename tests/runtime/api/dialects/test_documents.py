"""DeepL's documents, as its own client sends and fetches them, and as others may not."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deepl
import httpx
import polib
import pytest
from deepl import http_client

from fmalloc_runtime.access.keys import add_key
from fmalloc_runtime.live.registry import Registry
from tests.support.api import LINE, Served, serving, wait_until
from tests.support.bundles import CPU, SENTENCES
from tests.support.files import SAMPLES, docx, read

SECRET = "SECRET"
TEXT = "".join(f"{line}\n" for line in SENTENCES["kitchen"])
PO = f'msgid "{LINE}"\nmsgstr ""\n'


@pytest.fixture(scope="module")
def keyed(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str, str]]:
    """A server with two clients, each with a small quota."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    keys = [add_key(path, name, {"characters": 20_000}) for name in ("team", "other")]
    limits: dict[str, Any] = {"document_limit": 60_000, "text_limit": 5_000, "documents": 5}
    with serving(bundles, keys=path, body_limit=20_000, **limits) as running:
        yield running, keys[0], keys[1]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client asks for the status every five seconds, and again after an error."""
    monkeypatch.setattr("deepl.translator.time.sleep", lambda _: time_to_translate())
    monkeypatch.setattr(http_client, "max_network_retries", 0)


def time_to_translate(seconds: float = 0.05) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture
def translator(keyed: tuple[Served, str, str]) -> deepl.DeepLClient:
    return deepl.DeepLClient(keyed[1], server_url=keyed[0].url)


def drain(translator: deepl.DeepLClient, handle: deepl.DocumentHandle) -> bytes:
    translator.translate_document_wait_until_done(handle)
    output = io.BytesIO()
    translator.translate_document_download(handle, output)
    return output.getvalue()


def test_its_own_client_translates_a_file_on_disk(
    keyed: tuple[Served, str, str], translator: deepl.DeepLClient, bundles: Path, tmp_path: Path, expected: str
) -> None:
    before, after = tmp_path / "de.po", tmp_path / "en.po"
    before.write_text(PO, encoding="utf-8")
    extra = {"domain": "it"}
    used = translator.get_usage().character.count or 0
    status = translator.translate_document_from_filepath(
        before, after, source_lang="DE", target_lang="EN-US", extra_body_parameters=extra
    )
    assert status.done and status.billed_characters == len(LINE)
    assert polib.pofile(str(after))[0].msgstr == expected
    assert (translator.get_usage().character.count or 0) - used == len(LINE)


@pytest.mark.parametrize("name", SAMPLES)
def test_its_own_client_translates_every_format(translator: deepl.DeepLClient, name: str) -> None:
    output = io.BytesIO()
    named = io.BytesIO(SAMPLES[name])
    named.name = name
    translator.translate_document(named, output, target_lang="EN-GB")
    assert output.getvalue() != SAMPLES[name]
    read(name, output.getvalue())


def test_a_document_is_routed_as_a_whole(
    keyed: tuple[Served, str, str], translator: deepl.DeepLClient, bundles: Path
) -> None:
    handle = translator.translate_document_upload(TEXT, target_lang="EN-US", filename="kitchen.txt")
    content = drain(translator, handle).decode()
    lines = SENTENCES["kitchen"]
    made, _ = Registry(bundles, CPU).load().translate(lines, "kitchen")
    assert content == "".join(f"{translation.text}\n" for translation in made)


def test_it_is_gone_once_it_was_downloaded(translator: deepl.DeepLClient) -> None:
    handle = translator.translate_document_upload(TEXT, target_lang="EN-US", filename="a.txt")
    assert drain(translator, handle)
    assert translator.translate_document_get_status(handle).status.value == "downloaded"
    with pytest.raises(deepl.DeepLException, match="Not found"):
        translator.translate_document_download(handle, io.BytesIO())


def test_names_and_keys_of_documents(keyed: tuple[Served, str, str], translator: deepl.DeepLClient) -> None:
    served, _, other = keyed
    handle = translator.translate_document_upload(TEXT, target_lang="EN-US", filename="a.txt")
    stranger = deepl.DeepLClient(other, server_url=served.url)
    wrong = deepl.DocumentHandle(handle.document_id, "0" * 64)
    absent = deepl.DocumentHandle("0" * 32, handle.document_key)
    for client, names in ((translator, wrong), (translator, absent), (stranger, handle)):
        with pytest.raises(deepl.DeepLException, match="Not found.*no such document"):
            client.translate_document_get_status(names)
        with pytest.raises(deepl.DeepLException, match="Not found"):
            client.translate_document_download(names, io.BytesIO())
    with pytest.raises(deepl.AuthorizationException):
        deepl.DeepLClient("wrong", server_url=served.url).translate_document_get_status(handle)
    with pytest.raises(deepl.AuthorizationException):
        deepl.DeepLClient("wrong", server_url=served.url).translate_document_upload(
            "a", target_lang="EN-US", filename="a.txt"
        )
    assert drain(translator, handle)


REFUSED: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("a.exe", b"x", {}, "expected a name that ends in one of .xliff"),
    ("a.docm", b"x", {}, "save it as .docx, without macros"),
    ("a.docx", docx(word__vbaProject_dot_bin=b"x"), {}, "has macros"),
    ("a.xliff", b"<xliff>", {}, "a.xliff:1: is not well-formed XML"),
    ("a.xliff", b'<xliff version="1.2"><file source-language="fr"/></xliff>', {}, "the source language is 'fr'"),
    ("a.txt", b"a" * 60_001, {}, "413.*60001 bytes, at most 60000"),
    ("a.txt", b"a" * 200_000, {}, "413.*larger than"),
    ("a.txt", b"a" * 5_001, {}, "413.*5001 characters in one unit, at most 5000"),
    ("a.docx", docx(word__x=bytes(60_000)), {}, "413.*bytes unpacked, at most 60000"),
    ("a.txt", b"a", {"target_lang": "FR"}, "target_lang.* 'FR', expected 'EN-GB' or 'EN-US'"),
    ("a.txt", b"a", {"output_format": "pdf"}, "output_format 'pdf': formats are not converted"),
    ("a.txt", b"a", {"extra_body_parameters": {"domain": "law"}}, "domain 'law' is not served"),
    ("a.txt", b"a", {"source_lang": "DE", "glossary": "x"}, "this server keeps no glossaries"),
]


@pytest.mark.parametrize(("name", "data", "fields", "message"), REFUSED)
def test_its_own_client_is_told_what_is_wrong(
    translator: deepl.DeepLClient, name: str, data: bytes, fields: dict[str, Any], message: str
) -> None:
    used = translator.get_usage().character.count
    with pytest.raises(deepl.DeepLException, match=message):
        translator.translate_document_upload(data, filename=name, **{"target_lang": "EN-US", **fields})
    assert translator.get_usage().character.count == used


def post(served: Served, key: str, **arguments: Any) -> httpx.Response:
    return served.client.post("/v2/document", headers={"Authorization": f"DeepL-Auth-Key {key}"}, **arguments)


def test_forms_that_are_none(keyed: tuple[Served, str, str]) -> None:
    served, key, _ = keyed
    target = {"target_lang": "EN"}
    file = ("a.txt", b"Salz.")
    assert post(served, key, json=target).status_code == 415
    for arguments in (
        {"files": {"target_lang": (None, "EN")}},
        {"data": target, "files": [("file", file), ("file", file)]},
        {"data": target, "files": {"other": file}},
        {"data": target, "files": {"file": ("", b"x")}},
        {"files": {"file": file}},
        {"content": b"x", "headers": {"Authorization": f"Bearer {key}", "Content-Type": "multipart/form-data"}},
    ):
        headers = arguments.pop("headers", {"Authorization": f"Bearer {key}"})
        answer = served.client.post("/v2/document", headers=headers, **arguments)  # type: ignore[arg-type]
        assert answer.status_code == 400 and list(answer.json()) == ["message"], answer.text
    body = post(served, key, data=target, files={"file": file}).request.read()
    cut = {"Content-Type": "multipart/form-data; boundary=" + body[2:34].decode()}
    answer = served.client.post("/v2/document", headers={"Authorization": f"Bearer {key}", **cut}, content=body[:-10])
    assert answer.status_code == 400 and "not a whole form" in answer.text
    assert served.client.post("/v2/document", data=target, files={"file": file}).status_code == 403
    found = served.client.post("/v2/document", data={**target, "auth_key": key}, files={"file": file})
    assert found.status_code == 200


def metric(served: Served, name: str) -> float:
    return served.service.metrics.registry.get_sample_value(name) or 0.0


def test_limits_of_documents(bundles: Path) -> None:
    with serving(bundles, documents=2) as served:
        client = deepl.DeepLClient("any", server_url=served.url)
        handles = [client.translate_document_upload(TEXT, target_lang="EN-US", filename="a.txt") for _ in range(2)]
        with pytest.raises(deepl.DeepLException, match="529.*2 documents are here, 2 are allowed"):
            client.translate_document_upload(TEXT, target_lang="EN-US", filename="a.txt")
        assert metric(served, "fmalloc_documents_held") == 2
        drain(client, handles[0])
        assert metric(served, "fmalloc_documents_held") == 1
        client.translate_document_upload(TEXT, target_lang="EN-US", filename="a.txt")
        drain(client, handles[1])
        exposed = served.client.get("/metrics").text
        assert 'fmalloc_documents_total{result="done"}' in exposed and "fmalloc_documents_held 1.0" in exposed


def test_a_document_that_is_old_is_gone(bundles: Path) -> None:
    with serving(bundles, document_seconds=0.1) as served:
        client = deepl.DeepLClient("any", server_url=served.url)
        handle = client.translate_document_upload(TEXT, target_lang="EN-US", filename="a.txt")
        wait_until(lambda: not metric(served, "fmalloc_documents_held"))
        with pytest.raises(deepl.DeepLException, match="no such document"):
            client.translate_document_get_status(handle)


def test_bytes_of_documents(bundles: Path) -> None:
    with serving(bundles, documents=9, document_limit=15_000, documents_limit=16_384) as served:
        client = deepl.DeepLClient("any", server_url=served.url)
        client.translate_document_upload(TEXT, target_lang="EN-US", filename="a.txt")
        with pytest.raises(deepl.DeepLException, match="529.*no room for more documents"):
            client.translate_document_upload(TEXT, target_lang="EN-US", filename="a.txt")


def test_a_document_that_fails_says_so_and_costs_nothing(
    keyed: tuple[Served, str, str], translator: deepl.DeepLClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = keyed[0]
    used = translator.get_usage().character.count

    async def fail(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(served.service, "translate", fail)
    handle = translator.translate_document_upload(TEXT, target_lang="EN-US", filename="a.txt")
    status = translator.translate_document_wait_until_done(handle)
    assert not status.ok and status.error_message == "the server failed to translate this document; see its log"
    assert translator.get_usage().character.count == used
    with pytest.raises(deepl.DeepLException, match="Not found"):
        translator.translate_document_download(handle, io.BytesIO())


def test_a_document_waits_where_there_is_no_room(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(bundles, queue_characters=600) as served:
        with served.service.admission.admit(600):
            answer = served.client.post(
                "/v2/document", data={"target_lang": "EN"}, files={"file": ("a.txt", TEXT.encode())}
            )
            names = answer.json()
            url, key = f"/v2/document/{names['document_id']}", {"document_key": names["document_key"]}
            wait_until(lambda: served.client.post(url, json=key).json()["status"] == "translating")
            early = served.client.post(f"{url}/result", data=key)
            assert early.status_code == 503 and early.json() == {
                "message": "the document is not ready yet: ask for its status"
            }
            assert served.client.post(url, json=key).json()["seconds_remaining"] >= 1
        wait_until(lambda: served.client.post(url, data=key).json()["status"] == "done")
        done = served.client.post(f"{url}/result", data=key)
        assert done.status_code == 200 and done.headers["content-type"].startswith("text/plain")


def test_the_quota_counts_documents(keyed: tuple[Served, str, str], translator: deepl.DeepLClient) -> None:
    line = f"{LINE}\n"
    with pytest.raises(deepl.QuotaExceededException):
        for _ in range(3):
            handle = translator.translate_document_upload(line * 200, target_lang="EN-US", filename="a.txt")
            drain(translator, handle)


def test_a_server_without_documents(bundles: Path) -> None:
    with serving(bundles, documents=0) as served:
        assert served.client.post("/v2/document", data={"target_lang": "EN"}).status_code == 404
        assert "/v2/document" not in served.client.get("/openapi.json").json()["paths"]
