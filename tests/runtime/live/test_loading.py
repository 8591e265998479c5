"""Models in memory: loaded once, unloaded when unused, never more than there is room for."""

import ctypes
import gc
import logging
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from fmalloc_export.bench.runner import resident_bytes
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.errors import NotReadyError
from fmalloc_runtime.live.loading import ModelCache, model_bytes
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.metrics import Metrics
from tests.support.bundles import CPU, SENTENCES, bundle_of
from tests.support.needs import skip_without

WAIT = 20.0
TEXT = SENTENCES["it"][0]


@pytest.fixture
def opened(bundles: Path) -> dict[str, Bundle]:
    return {domain: Bundle.read(bundle_of(bundles, domain)) for domain in SENTENCES}


@pytest.fixture
def size(opened: dict[str, Bundle]) -> int:
    """Bytes of the largest of the models, which are about equal."""
    return max(map(model_bytes, opened.values()))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The bundles that were loaded, one after the other."""
    names: list[str] = []
    load = Translator.load

    def counted(bundle: Bundle, *arguments: object) -> Translator:
        names.append(bundle.manifest.domain)
        return load(bundle, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Translator, "load", counted)
    yield names


def use(models: ModelCache, bundle: Bundle) -> None:
    with models.lease(bundle) as translator:
        assert translator.translate([TEXT])[0].text


def until_gone(models: ModelCache, bundle: Bundle) -> None:
    """Wait until the loader has chosen the model to go."""
    while models.loaded(bundle):
        time.sleep(0.001)


def held(models: ModelCache, opened: dict[str, Bundle]) -> list[str]:
    return [domain for domain, bundle in opened.items() if models.loaded(bundle)]


def test_a_model_is_loaded_when_it_is_first_leased_and_stays(opened: dict[str, Bundle], loads: list[str]) -> None:
    metrics = Metrics()
    models = ModelCache(CPU, metrics=metrics)
    assert models.loaded(opened["it"]) is None
    use(models, opened["it"])
    assert models.lease(opened["it"]).ready.result(0) is models.loaded(opened["it"])
    assert loads == ["it"]
    read = metrics.registry.get_sample_value
    assert read("fmalloc_loaded", {"domain": "it"}) == 1
    assert read("fmalloc_model_bytes") == models.used == model_bytes(opened["it"])
    assert read("fmalloc_stage_seconds_count", {"stage": "load"}) == 1


def test_many_that_want_the_same_model_load_it_once(opened: dict[str, Bundle], loads: list[str]) -> None:
    models = ModelCache(CPU)
    start = threading.Barrier(8)
    got = []

    def ask() -> None:
        start.wait()
        with models.lease(opened["it"]) as translator:
            got.append(translator)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(got) == 8
    assert len(set(got)) == 1
    assert loads == ["it"]


def test_the_least_recently_used_goes_out_first(opened: dict[str, Bundle], size: int, loads: list[str]) -> None:
    models = ModelCache(CPU, memory=2 * size)
    for domain in ("general", "it", "general", "kitchen", "general", "it"):
        use(models, opened[domain])
        assert models.used <= 2 * size
    assert loads == ["general", "it", "kitchen", "it"]
    assert held(models, opened) == ["general", "it"]


def test_a_model_that_went_out_is_freed(opened: dict[str, Bundle], size: int) -> None:
    metrics = Metrics()
    models = ModelCache(CPU, memory=size, metrics=metrics)
    with models.lease(opened["it"]) as translator:
        there = weakref.ref(translator)
    del translator
    use(models, opened["kitchen"])
    gc.collect()
    assert there() is None
    assert metrics.registry.get_sample_value("fmalloc_loaded", {"domain": "it"}) == 0


def test_a_model_in_use_is_waited_for_and_not_leased_again(
    opened: dict[str, Bundle], size: int, loads: list[str]
) -> None:
    models = ModelCache(CPU, memory=size)
    lease = models.lease(opened["it"])
    translator = lease.ready.result(WAIT)
    other = models.lease(opened["kitchen"])
    until_gone(models, opened["it"])
    later = models.lease(opened["it"])
    assert not other.ready.done()
    assert translator.translate([TEXT])[0].text
    assert models.used <= size
    lease.release()
    lease.release()
    other.ready.result(WAIT)
    assert not later.ready.done()
    other.release()
    later.ready.result(WAIT)
    assert loads == ["it", "kitchen", "it"]


def test_a_model_larger_than_all_memory_is_loaded_alone(
    opened: dict[str, Bundle], size: int, caplog: pytest.LogCaptureFixture
) -> None:
    models = ModelCache(CPU, memory=size // 2)
    with caplog.at_level(logging.WARNING):
        use(models, opened["it"])
        use(models, opened["kitchen"])
    assert held(models, opened) == ["kitchen"]
    assert "it is loaded alone" in caplog.text


def test_what_nobody_waits_for_any_more_is_not_loaded(opened: dict[str, Bundle], size: int, loads: list[str]) -> None:
    models = ModelCache(CPU, memory=size)
    with models.lease(opened["it"]):
        cancelled = models.lease(opened["general"])
        given_up = models.lease(opened["kitchen"])
        assert cancelled.ready.cancel()
        given_up.release()
        until_gone(models, opened["it"])
    cancelled.release()
    use(models, opened["it"])
    assert loads == ["it", "general", "it"]
    assert models.used <= size


def test_files_that_are_gone_or_changed_fail_their_model_only(own_bundles: Path) -> None:
    opened = {domain: Bundle.read(bundle_of(own_bundles, domain)) for domain in SENTENCES}
    models = ModelCache(CPU)
    (opened["it"].path / "model" / "model.bin").write_bytes(b"other")
    shutil.rmtree(opened["kitchen"].path)
    for domain, problem in (("it", r"it@\w+ cannot be loaded: .*sha256"), ("kitchen", "cannot be read: No such file")):
        with pytest.raises(NotReadyError, match=problem):
            use(models, opened[domain])
        assert models.loaded(opened[domain]) is None
    assert models.used == 0
    use(models, opened["general"])


def test_only_allowed_models_are_kept(opened: dict[str, Bundle]) -> None:
    models = ModelCache(CPU)
    use(models, opened["it"])
    lease = models.lease(opened["kitchen"])
    lease.ready.result(WAIT)
    models.allow([opened["general"].name])
    assert held(models, opened) == []
    assert models.used == model_bytes(opened["kitchen"])
    lease.release()
    assert models.used == 0
    use(models, opened["it"])
    assert models.loaded(opened["it"]) is None
    use(models, opened["general"])
    assert held(models, opened) == ["general"]
    models.unload(opened["general"])
    models.unload(opened["general"])
    assert held(models, opened) == []


def test_whether_it_fits(opened: dict[str, Bundle], size: int) -> None:
    models = ModelCache(CPU, memory=size)
    assert models.fits(opened["it"])
    use(models, opened["it"])
    assert not models.fits(opened["kitchen"])
    assert ModelCache(CPU).fits(opened["kitchen"])


def test_many_threads_and_little_memory(opened: dict[str, Bundle], size: int) -> None:
    models = ModelCache(CPU, memory=2 * size)
    expected = {domain: Translator.load(bundle, CPU).translate([TEXT]) for domain, bundle in opened.items()}
    problems = []

    def ask(turn: int) -> None:
        for step in range(8):
            domain = list(opened)[(turn + step) % 3]
            with models.lease(opened[domain]) as translator:
                if translator.translate([TEXT]) != expected[domain] or models.used > 2 * size:
                    problems.append((domain, models.used))

    threads = [threading.Thread(target=ask, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert not problems


def test_loading_gives_back_memory_that_was_freed_between_blocks_in_use(opened: dict[str, Bundle]) -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        skip_without("glibc")
    Translator.load(opened["it"], CPU)  # with the libraries that it needs
    blocks = [bytearray(b"x" * 4000) for _ in range(25_000)]
    kept = blocks[::1000]
    del blocks
    before = resident_bytes() or skip_without("proc")
    Translator.load(opened["it"], CPU)
    after = resident_bytes() or skip_without("proc")
    assert before - after > 50e6
    assert len(kept) == 25
