"""Model repositories in the real Triton server, asked by NVIDIA's own client."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from triton_server import triton
from tritonclient.http import InferenceServerClient, InferInput, InferResult
from tritonclient.utils import InferenceServerException

from fmalloc_export.triton.options import TritonOptions
from fmalloc_export.triton.repository import write_triton_repository
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import Translator
from tests.support.bundles import CPU, SENTENCES, bundle_of, make_live, write_bundle


@pytest.fixture(scope="module")
def server(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("triton")
    write_triton_repository(bundles, folder / "repository", TritonOptions(queue_seconds=0.02))
    with triton(folder / "repository", folder) as url:
        yield url


def ask(url: str, model: str, texts: Sequence[str], parameters: Mapping[str, object] | None = None) -> InferResult:
    """What Triton's client gets."""
    given = InferInput("TEXT", [len(texts), 1], "BYTES")
    given.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_).reshape(-1, 1))
    client = InferenceServerClient(url.removeprefix("http://"), network_timeout=60)
    try:
        return client.infer(model, [given], parameters=parameters)
    finally:
        client.close()


def column(result: InferResult, name: str) -> list[str]:
    """An output of shape (texts, 1)."""
    values = result.as_numpy(name)
    assert values.shape[1:] == (1,)
    return [value.decode() for value in values.reshape(-1)]


def test_the_models_are_ready_and_tell_what_they_take(server: str) -> None:
    client = InferenceServerClient(server.removeprefix("http://"))
    assert client.is_server_ready()
    assert {model["name"] for model in client.get_model_repository_index()} == {*SENTENCES, "fmalloc"}
    metadata = client.get_model_metadata("it")
    assert metadata["inputs"] == [{"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]}]
    client.close()


@pytest.mark.parametrize("domain", SENTENCES)
def test_a_domain_translates_as_its_bundle_does(server: str, bundles: Path, domain: str) -> None:
    bundle = Bundle.open(bundle_of(bundles, domain))
    expected = Translator.load(bundle, CPU).translate(SENTENCES[domain])
    result = ask(server, domain, SENTENCES[domain])
    assert column(result, "TRANSLATION") == [translation.text for translation in expected]
    assert set(column(result, "BUNDLE")) == {bundle.name}


@pytest.mark.parametrize("domain", SENTENCES)
def test_the_texts_of_a_request_are_routed_together(server: str, bundles: Path, domain: str) -> None:
    texts = SENTENCES[domain]
    result = ask(server, "fmalloc", texts)
    route = Registry(bundles, CPU).load().router.route(texts)
    assert route.domain == domain
    assert [json.loads(found) for found in column(result, "DOMAIN")] == [
        {
            "name": domain,
            "score": route.score,
            "scores": dict(route.scores),
            "reason": "detected",
            "bundle": bundle_of(bundles, domain).name,
        }
    ] * len(texts)
    assert column(result, "TRANSLATION") == column(ask(server, domain, texts), "TRANSLATION")


def test_parameters_are_the_requests_own(server: str, bundles: Path) -> None:
    text = SENTENCES["it"][0]
    asked = ask(server, "fmalloc", [text], {"domain": "kitchen", "beam_size": 1, "max_length": 5})
    translator = Translator.load(Bundle.open(bundle_of(bundles, "kitchen")), CPU)
    (expected,) = translator.translate([text], TranslationOptions(beam_size=1, max_length=5))
    assert column(asked, "TRANSLATION") == [expected.text]
    assert json.loads(column(asked, "DOMAIN")[0])["reason"] == "asked for"


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        ("fmalloc", {"domain": "law"}, "use auto or one of general, it, kitchen"),
        ("it", {"beam_size": 99}, "beam_size: Input should be less than or equal to 8"),
        ("it", {"speed": 1}, "speed: Extra inputs are not permitted"),
        ("fmalloc", {"format": "pdf"}, "format: Input should be 'text', 'html' or 'xml'"),
    ],
)
def test_what_is_wrong_is_told(server: str, model: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(InferenceServerException, match=message):
        ask(server, model, ["Guten Tag."], parameters)


def test_bytes_that_are_no_text_are_refused(server: str) -> None:
    given = InferInput("TEXT", [2, 1], "BYTES")
    given.set_data_from_numpy(np.array([[b"gut"], [b"\xff"]], dtype=np.object_))
    client = InferenceServerClient(server.removeprefix("http://"))
    with pytest.raises(InferenceServerException, match="byte 0 is not UTF-8"):
        client.infer("it", [given])
    client.close()


def test_requests_share_batches_and_get_their_own_answers(server: str) -> None:
    texts = [(domain, text) for domain, lines in SENTENCES.items() for text in lines]
    alone = [column(ask(server, domain, [text]), "TRANSLATION") for domain, text in texts]
    before = _counts(server, "it")
    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(lambda item: column(ask(server, item[0], [item[1]]), "TRANSLATION"), texts * 4))
    assert together == alone * 4
    requests, executions = (after - earlier for after, earlier in zip(_counts(server, "it"), before, strict=True))
    assert requests == 4 * len(SENTENCES["it"])
    assert executions < requests


def _counts(url: str, model: str) -> tuple[int, int]:
    (stats,) = httpx.get(f"{url}/v2/models/{model}/stats").json()["model_stats"]
    return stats["inference_count"], stats["execution_count"]


def test_a_repository_brought_up_to_date_is_taken_over_under_load(own_bundles: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    write_triton_repository(own_bundles, repository)
    texts = SENTENCES["it"]
    names: list[str] = []
    stop = threading.Event()
    with triton(repository, tmp_path, ["--model-control-mode=poll", "--repository-poll-secs=1"]) as url:

        def load() -> None:
            while not stop.is_set():
                names.append(json.loads(column(ask(url, "fmalloc", texts), "DOMAIN")[0])["bundle"])

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(load)
            new = write_bundle(own_bundles, "it", seed=77)
            kept = [bundle_of(own_bundles, domain) for domain in ("general", "kitchen")]
            make_live(own_bundles, *kept, new)
            assert write_triton_repository(own_bundles, repository, force=True)["it"] == 2
            deadline = time.monotonic() + 60
            while new.name not in names[-1:] and not running.done() and time.monotonic() < deadline:
                time.sleep(0.1)
            stop.set()
            running.result()
    assert names[-1] == new.name
    assert len(set(names)) == 2
