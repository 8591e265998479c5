"""Snapshots of what live.json names, swapped whole."""

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fmalloc_runtime.bundle.bundle import Bundle, GoldenRecord, LiveIndex
from fmalloc_runtime.errors import NotReadyError, UnknownDomainError
from fmalloc_runtime.live import registry as registry_module
from fmalloc_runtime.live.loading import model_bytes
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.snapshot import Snapshot
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.routing.costs import ROUTING_COSTS_FILE
from fmalloc_runtime.routing.router import THRESHOLD
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from tests.support.bundles import CPU, SENTENCES, bundle_of, make_live, write_bundle
from tests.support.routing_costs import NAMES, record

TEXT = SENTENCES["it"][0]
DOMAINS = ["general", "it", "kitchen"]
WAIT = 20.0


def translated(snapshot: Snapshot, domain: str) -> str:
    (translation,), _ = snapshot.translate([TEXT], domain)
    return translation.text


def loaded(registry: Registry) -> list[str]:
    snapshot = registry.snapshot()
    return [domain for domain in snapshot.bundles if snapshot.loaded(domain)]


def point_at(bundles: Path, name: str) -> None:
    """Replace live.json by one that names this bundle too, as fmalloc export does."""
    partial = bundles / "live.partial"
    partial.write_bytes(LiveIndex.of(bundles).with_bundle(name).to_bytes())
    partial.replace(bundles / "live.json")


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def two_models(bundles: Path) -> int:
    """Memory that holds any two of the models."""
    return 2 * max(model_bytes(Bundle.read(bundle_of(bundles, domain))) for domain in DOMAINS)


def test_a_snapshot_serves_every_live_domain(bundles: Path) -> None:
    registry = Registry(bundles, CPU)
    with pytest.raises(NotReadyError, match="bundles are being loaded"):
        registry.snapshot()
    snapshot = registry.load()
    assert registry.snapshot() is snapshot
    assert sorted(snapshot.bundles) == loaded(registry) == DOMAINS
    assert snapshot.languages == LanguagePair(source="de", target="en")
    for domain in DOMAINS:
        (translation,), route = snapshot.translate([TEXT], domain)
        assert translation.text == snapshot.load(domain).translate([TEXT])[0].text
        assert (route.domain, route.bundle) == (domain, bundle_of(bundles, domain).name)


def test_one_route_for_all_texts_together(bundles: Path) -> None:
    snapshot = Registry(bundles, CPU).load()
    texts = [*SENTENCES["it"], SENTENCES["kitchen"][0]]
    translations, route = snapshot.translate(texts)
    assert route.domain == "it"
    assert [item.text for item in translations] == [item.text for item in snapshot.load("it").translate(texts)]


def test_an_unchanged_live_index_is_not_read_again(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU)
    before = registry.load()
    registry.refresh()
    (own_bundles / "new").mkdir()  # a bundle that is not live yet
    registry.refresh()
    assert registry.snapshot() is before


def test_a_changed_live_index_swaps_only_what_changed(own_bundles: Path) -> None:
    metrics = Metrics()
    registry = Registry(own_bundles, CPU, metrics=metrics)
    before = registry.load()
    kitchen, it = before.load("kitchen"), before.load("it")
    new = write_bundle(own_bundles, "it", seed=9)
    registry.refresh()
    assert registry.snapshot() is before
    point_at(own_bundles, new.name)
    assert registry.snapshot() is before  # requests load nothing
    registry.refresh()
    after = registry.snapshot()
    assert after.bundles["it"].name == new.name
    assert before.bundles["it"].name != new.name
    assert after.load("kitchen") is kitchen
    assert translated(after, "it") != it.translate([TEXT])[0].text
    assert metrics.registry.get_sample_value("fmalloc_reloads_total", {"result": "ok"}) == 2


def test_requests_in_flight_finish_on_the_old_model(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU)
    before = registry.load()
    expected = translated(before, "it")
    used = before.models.used
    old = before.bundles["it"].path
    lease = before.lease("it")
    point_at(own_bundles, write_bundle(own_bundles, "it", seed=9).name)
    registry.refresh()
    shutil.rmtree(old)
    assert lease.ready.result(0).translate([TEXT])[0].text == expected
    assert before.models.used > used
    lease.release()
    assert before.models.used == pytest.approx(used, rel=0.1)


def test_a_domain_can_go(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU)
    registry.load()
    make_live(own_bundles, bundle_of(own_bundles, "general"), bundle_of(own_bundles, "it"))
    registry.refresh()
    with pytest.raises(UnknownDomainError, match="domain 'kitchen' is not served: use auto or one of general, it"):
        registry.snapshot().translate([TEXT], "kitchen")


def test_a_bad_bundle_keeps_the_snapshot_before_it(own_bundles: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    read = metrics.registry.get_sample_value
    registry = Registry(own_bundles, CPU, metrics=metrics)
    before = registry.load()
    wrong = write_bundle(own_bundles, "it", golden=(GoldenRecord(source=TEXT, translation="wrong"),))
    good = (own_bundles / "live.json").read_bytes()
    make_live(own_bundles, wrong)
    with caplog.at_level(logging.ERROR):
        registry.refresh()
    assert registry.snapshot() is before
    assert loaded(registry) == DOMAINS
    assert registry.failure is not None and "golden.jsonl record 1" in registry.failure
    assert "live.json was not applied" in caplog.text
    assert read("fmalloc_reload_failing") == read("fmalloc_reloads_total", {"result": "failed"}) == 1
    with pytest.raises(FmallocError, match=r"golden\.jsonl record 1"):
        registry.load()
    (own_bundles / "live.json").write_bytes(good)
    registry.refresh()
    assert sorted(registry.snapshot().bundles) == DOMAINS
    assert registry.failure is None
    assert read("fmalloc_reload_failing") == 0


def test_a_failure_is_tried_again_when_something_changed_or_later(
    own_bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle may be copied after the live.json that names it, and a file of it later still."""
    registry = Registry(own_bundles, CPU)
    registry.load()
    late = write_bundle(own_bundles, "it", seed=9)
    late.rename(tmp_path / late.name)
    point_at(own_bundles, late.name)
    registry.refresh()
    assert registry.failure is not None and "no such bundle directory" in registry.failure
    (tmp_path / late.name / "golden.jsonl").rename(tmp_path / "golden.jsonl")
    (tmp_path / late.name).rename(late)
    registry.refresh()
    assert registry.failure is not None and "golden.jsonl" in registry.failure
    (tmp_path / "golden.jsonl").rename(late / "golden.jsonl")
    registry.refresh()
    assert registry.failure is not None
    monkeypatch.setattr(registry_module, "_RETRY", 0.0)
    registry.refresh()
    assert registry.failure is None
    assert registry.snapshot().bundles["it"].name == late.name


def test_a_model_that_its_manifest_promises_too_much_of_is_a_bad_bundle(own_bundles: Path) -> None:
    """Its endless outputs would run off the table of positions."""
    point_at(own_bundles, write_bundle(own_bundles, "it", maximum_length=400).name)
    with pytest.raises(FmallocError, match="model.bin: encoder has 48 positions, maximum_length is 400"):
        Registry(own_bundles, CPU).load()


def test_nothing_to_serve(tmp_path: Path, own_bundles: Path) -> None:
    registry = Registry(tmp_path, CPU)
    with pytest.raises(FmallocError, match=r"live\.json: cannot be read: No such file"):
        registry.load()
    with pytest.raises(NotReadyError, match=r"live\.json: cannot be read: No such file"):
        registry.snapshot()
    (tmp_path / "live.json").write_bytes(b'{"version": 1, "domains": {}}')
    registry.refresh()
    with pytest.raises(NotReadyError, match="no domain is live: run fmalloc export first"):
        registry.snapshot()
    for item in own_bundles.iterdir():
        (shutil.copytree if item.is_dir() else shutil.copy)(item, tmp_path / item.name)
    registry.refresh()
    assert sorted(registry.snapshot().bundles) == DOMAINS


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: shutil.rmtree(path), "no such bundle directory"),
        (lambda path: (path / "manifest.json").write_bytes(b"{"), "manifest.json"),
        (lambda path: (path / "model" / "model.bin").write_bytes(b"other"), "model.bin"),
        (lambda path: os.truncate(path / "model" / "model.bin", 1000), "model.bin"),
        (lambda path: (path / "routing.safetensors").unlink(), "routing.safetensors"),
        (lambda path: (path / "tokenizer" / "source.spm").write_bytes(b""), "source.spm"),
    ],
)
def test_a_damaged_bundle_is_named(own_bundles: Path, spoil: Callable[[Path], None], problem: str) -> None:
    path = bundle_of(own_bundles, "it")
    spoil(path)
    with pytest.raises(FmallocError, match=rf"{path.name}.*{problem}"):
        Registry(own_bundles, CPU).load()


def test_one_language_pair_a_directory(own_bundles: Path) -> None:
    point_at(own_bundles, write_bundle(own_bundles, "it", languages=LanguagePair(source="de", target="fr")).name)
    with pytest.raises(FmallocError, match="expected one language pair, found de-en, de-fr"):
        Registry(own_bundles, CPU).load()


def test_a_watcher_takes_over_what_comes_and_survives_anything(
    own_bundles: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(own_bundles, CPU)
    registry.load()
    new = write_bundle(own_bundles, "it", seed=9)
    good, read = (own_bundles / "live.json").read_bytes(), LiveIndex.of

    def broken(bundles: Path) -> LiveIndex:
        raise RuntimeError("unforeseen")

    with registry.watch(0.01):
        (own_bundles / "live.json").write_bytes(b"\xff")
        until(lambda: registry.failure is not None)
        monkeypatch.setattr(LiveIndex, "of", broken)
        (own_bundles / "live.json").write_bytes(good)
        until(lambda: "unforeseen" in caplog.text)
        until(lambda: registry.failure == "unforeseen")
        monkeypatch.setattr(LiveIndex, "of", read)
        point_at(own_bundles, new.name)
        until(lambda: registry.snapshot().bundles["it"].name == new.name)
        until(lambda: registry.failure is None)
    assert "fmalloc-watcher" not in [thread.name for thread in threading.enumerate()]


def test_a_bound_on_memory_loads_on_demand(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU, memory=two_models(own_bundles))
    snapshot = registry.load()
    assert loaded(registry) == ["general", "it"]  # as many as fit, the one for all the rest among them
    fresh = {domain: Translator.load(bundle, CPU) for domain, bundle in snapshot.bundles.items()}
    expected = {domain: translator.translate([TEXT])[0].text for domain, translator in fresh.items()}
    for domain in (*DOMAINS, *DOMAINS):
        assert translated(snapshot, domain) == expected[domain]
        assert len(loaded(registry)) == 2
    assert loaded(registry) == ["it", "kitchen"]


def test_what_is_preloaded(own_bundles: Path, caplog: pytest.LogCaptureFixture) -> None:
    for preload, memory, expected in (
        ([], None, []),
        (["kitchen"], None, ["kitchen"]),
        (["kitchen", "it"], two_models(own_bundles) // 2, ["kitchen"]),
        (["it", "garden"], None, ["it"]),
    ):
        registry = Registry(own_bundles, CPU, memory, preload)
        registry.load()
        assert loaded(registry) == expected
    assert "it is not preloaded: it does not fit" in caplog.text
    assert "garden is not preloaded: it is not live" in caplog.text


def test_verifying_keeps_within_the_bound_on_memory(own_bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = two_models(own_bundles) // 2
    registry = Registry(own_bundles, CPU, memory)
    seen = []
    replay = Translator.replay_golden

    def watched(translator: Translator) -> None:
        seen.append(registry._models.used)
        replay(translator)

    monkeypatch.setattr(Translator, "replay_golden", watched)
    registry.load()
    for domain in DOMAINS:
        point_at(own_bundles, write_bundle(own_bundles, domain, seed=9).name)
    registry.refresh()
    assert len(seen) == 6
    assert max(seen) <= memory
    assert loaded(registry) == ["general"]


def test_a_warm_domain_stays_warm(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU, preload=[])
    translated(registry.load(), "it")
    point_at(own_bundles, write_bundle(own_bundles, "it", seed=9).name)
    point_at(own_bundles, write_bundle(own_bundles, "kitchen", seed=9).name)
    registry.refresh()
    assert loaded(registry) == ["it"]


def test_files_that_vanish_fail_their_own_domain(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU, preload=["general"])
    snapshot = registry.load()
    shutil.rmtree(bundle_of(own_bundles, "it"))
    with pytest.raises(NotReadyError, match=r"it@\w+ cannot be loaded"):
        snapshot.load("it")
    expected = translated(snapshot, "kitchen")
    point_at(own_bundles, write_bundle(own_bundles, "kitchen", seed=9).name)
    registry.refresh()  # what was verified is not looked at again
    assert registry.failure is None
    assert translated(registry.snapshot(), "kitchen") != expected


def test_a_threshold_that_was_measured_is_taken_over(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU)
    registry.load()
    it = registry.snapshot().load("it")
    path = own_bundles / ROUTING_COSTS_FILE
    path.write_text("{}")
    registry.refresh()
    assert registry.failure is not None and "routing.json" in registry.failure
    assert registry.snapshot().router.threshold == THRESHOLD
    path.write_text(json.dumps(record(bundles={domain: bundle_of(own_bundles, domain).name for domain in NAMES})))
    registry.refresh()
    assert registry.failure is None
    assert registry.snapshot().router.threshold == 0.45
    assert registry.snapshot().load("it") is it


def test_requests_during_swaps_see_whole_snapshots(own_bundles: Path) -> None:
    names = [bundle_of(own_bundles, "it").name, write_bundle(own_bundles, "it", seed=9).name]
    registry = Registry(own_bundles, CPU)
    expected = {}
    for name in names:
        point_at(own_bundles, name)
        expected[name] = translated(registry.load(), "it")
    assert len(set(expected.values())) == 2
    seen, problems, stop = set(), [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            (translation,), route = registry.snapshot().translate([TEXT], "it")
            seen.add(route.bundle)
            if translation.text != expected[route.bundle]:
                problems.append((route.bundle, translation.text))

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for turn in range(20):
        point_at(own_bundles, names[turn % 2])
        registry.refresh()
        assert registry.snapshot().bundles["it"].name == names[turn % 2]
    stop.set()
    for asker in askers:
        asker.join(WAIT)
    assert not problems
    assert seen == set(names)


@pytest.mark.parametrize("name", ["live.json", "routing.json", "manifest.json", "golden.jsonl", "routing.safetensors"])
def test_a_fifo_in_the_place_of_a_file_blocks_nobody(own_bundles: Path, name: str) -> None:
    registry = Registry(own_bundles, CPU)
    before = registry.load()
    path = next((found for found in bundle_of(own_bundles, "it").rglob(name)), own_bundles / name)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(FmallocError, match=f"{name}: (is a FIFO, expected a plain file|missing)"):
        Registry(own_bundles, CPU).load()
    registry.refresh()
    assert registry.snapshot() is before
