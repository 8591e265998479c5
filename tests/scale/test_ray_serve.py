"""Two replicas behind Ray's proxy: requests reach both, one may die, and both take over what goes live."""

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from ray_cluster import SEVERAL, Cluster, ray_cluster

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.server.ray import application, replica_settings
from fmalloc_shared.errors import FmallocError
from tests.support.bundles import CPU, SENTENCES, bundle_of, make_live, write_bundle

# Characters translated, and when a replica began to count them, which tells replicas apart.
_CHARACTERS = re.compile(r'^fmalloc_characters_(total|created)\{domain="it"\} (\S+)$', re.MULTILINE)


@pytest.fixture(scope="module")
def served(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "bundles"
    shutil.copytree(bundles, folder)
    return folder


@pytest.fixture(scope="module")
def cluster(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ray_cluster(served, tmp_path_factory.mktemp("ray")) as found:
        yield found


def translate(cluster: Cluster, text: str) -> str:
    """The translation into the domain `it`; fails unless the answer is one."""
    wanted = {"q": text, "source": "de", "target": "en", "domain": "it"}
    answer = httpx.post(f"{cluster.url}/translate", json=wanted, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["translatedText"])


def expected(served: Path) -> dict[str, str]:
    """What the live bundle of `it` makes of each of its sentences."""
    translator = Translator.load(Bundle.open(bundle_of(served, "it")), CPU)
    texts = SENTENCES["it"]
    return {text: item.text for text, item in zip(texts, translator.translate(texts), strict=True)}


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it is true; fail if that takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.2)


def live_names(cluster: Cluster) -> set[str]:
    """Bundles of `it` that several answers tell of."""
    answers = (httpx.get(f"{cluster.url}/readyz").json() for _ in range(SEVERAL))
    return {answer["domains"]["it"]["bundle"] for answer in answers}


def test_requests_reach_both_replicas_and_all_answers_are_right(cluster: Cluster, served: Path) -> None:
    right = expected(served)
    texts = SENTENCES["it"] * 20
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda text: translate(cluster, text), texts)) == [right[text] for text in texts]
    pages = (httpx.get(f"{cluster.url}/metrics").text for _ in range(SEVERAL))
    found = [dict(_CHARACTERS.findall(page)) for page in pages]
    counts = {counted["created"]: float(counted["total"]) for counted in found if counted}
    assert len(counts) == 2
    assert sum(counts.values()) == sum(map(len, texts))


@pytest.mark.parametrize("path", ["/livez", "/v1/domains", "/v2/health/ready", "/openapi.json"])
def test_every_dialect_is_there(cluster: Cluster, path: str) -> None:
    assert httpx.get(f"{cluster.url}{path}").status_code == 200


def test_an_error_keeps_its_status_and_text(cluster: Cluster) -> None:
    answer = httpx.post(f"{cluster.url}/translate", json={"q": "Gut", "source": "de", "target": "en", "domain": "law"})
    assert answer.status_code == 400
    assert "general, it, kitchen" in answer.json()["error"]


def test_a_replica_that_dies_costs_no_later_request_and_is_replaced(cluster: Cluster, served: Path) -> None:
    right = expected(served)
    text = SENTENCES["it"][0]
    victim, survivor = cluster.replicas()
    victim.kill()
    victim.wait(timeout=10)
    assert [translate(cluster, text) for _ in range(100)] == [right[text]] * 100
    until(lambda: cluster.serving() == 2)
    assert survivor.is_running()
    assert [translate(cluster, text) for _ in range(SEVERAL)] == [right[text]] * SEVERAL


def test_both_replicas_take_over_what_goes_live_and_refuse_none(cluster: Cluster, served: Path) -> None:
    before, text = expected(served), SENTENCES["it"][1]
    found: list[str] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            found.append(translate(cluster, text))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(load)
        new = write_bundle(served, "it", seed=55)
        make_live(served, bundle_of(served, "general"), bundle_of(served, "kitchen"), new)
        until(lambda: running.done() or live_names(cluster) == {new.name})
        stop.set()
        running.result()
    after = expected(served)
    assert before[text] != after[text]
    assert set(found) <= {before[text], after[text]}
    assert translate(cluster, text) == after[text]


def test_settings_are_checked_before_a_replica_starts(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="bundels: no such setting, did you mean bundles"):
        application({"bundels": "/bundles"})
    with pytest.raises(FmallocError, match="port: no setting of a Ray replica; Ray's proxy listens"):
        application({"port": 5000})


@pytest.mark.parametrize(
    ("given", "resources", "workers"),
    [
        ({}, {"CPU": 3.0}, 3),
        ({"threads": 2}, {"CPU": 4.0}, 2),
        ({}, {"CPU": 0.5}, 1),
        ({"workers": 7}, {"CPU": 1.0}, 7),
    ],
)
def test_a_replica_takes_the_cpus_that_ray_gives_it(
    given: dict[str, int], resources: dict[str, float], workers: int
) -> None:
    assert replica_settings(given, resources).workers == workers
