"""Snapshots of what live.json names, swapped whole."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from runtime_fixtures import CPU, SENTENCES, bundle_of, bundles, make_live, own_bundles, write_bundle

from fmalloc_runtime.bundle import GoldenRecord, Languages, LiveIndex
from fmalloc_runtime.errors import NotReadyError, UnknownDomainError
from fmalloc_runtime.registry import Registry
from fmalloc_shared.errors import FmallocError

__all__ = ["bundles", "own_bundles"]
TEXT = SENTENCES["it"][0]


def test_a_snapshot_serves_every_live_domain(bundles: Path) -> None:
    snapshot = Registry(bundles, CPU).snapshot()
    assert sorted(snapshot.translators) == ["general", "it", "kitchen"]
    assert snapshot.languages == Languages(source="de", target="en")
    for domain in snapshot.translators:
        (text,), route = snapshot.translate([TEXT], domain)
        assert text == snapshot.translators[domain].translate([TEXT])[0].text
        assert (route.domain, route.bundle) == (domain, bundle_of(bundles, domain).name)


def test_lines_and_line_ends_survive(bundles: Path) -> None:
    snapshot = Registry(bundles, CPU).snapshot()
    first, second = SENTENCES["it"][:2]
    plain = [snapshot.translate([line], "it")[0][0] for line in (first, second)]
    texts, _ = snapshot.translate([f"{first}\r\n\r\n  \n{second}\r{first}", "", "\n\n", second], "it")
    assert texts == [f"{plain[0]}\r\n\r\n  \n{plain[1]}\r{plain[0]}", "", "\n\n", plain[1]]


def test_one_route_for_all_texts_together(bundles: Path) -> None:
    snapshot = Registry(bundles, CPU).snapshot()
    texts = [*SENTENCES["it"], SENTENCES["kitchen"][0]]
    translated, route = snapshot.translate(texts)
    assert route.domain == "it"
    assert translated == [item.text for item in snapshot.translators["it"].translate(texts)]


def test_an_unchanged_live_index_is_not_read_again(bundles: Path) -> None:
    registry = Registry(bundles, CPU)
    assert registry.snapshot() is registry.snapshot()


def test_a_changed_live_index_swaps_only_what_changed(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU)
    before = registry.snapshot()
    new = write_bundle(own_bundles, "it", seed=9)
    assert registry.snapshot() is before
    index = LiveIndex.of(own_bundles).with_bundle(new.name)
    (own_bundles / "live.json").write_bytes(index.to_bytes())
    after = registry.snapshot()
    assert after.translators["it"].bundle.name == new.name
    assert before.translators["it"].bundle.name != new.name
    assert after.translators["kitchen"] is before.translators["kitchen"]
    assert after.translate([TEXT], "it")[0] != before.translate([TEXT], "it")[0]


def test_a_domain_can_go(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU)
    registry.snapshot()
    make_live(own_bundles, bundle_of(own_bundles, "general"), bundle_of(own_bundles, "it"))
    with pytest.raises(UnknownDomainError, match="domain 'kitchen' is not served: use auto or one of general, it"):
        registry.snapshot().translate([TEXT], "kitchen")


def test_a_bad_bundle_keeps_the_snapshot_before_it(own_bundles: Path) -> None:
    registry = Registry(own_bundles, CPU)
    before = registry.snapshot()
    wrong = write_bundle(own_bundles, "it", golden=(GoldenRecord(source=TEXT, translation="wrong"),))
    good = (own_bundles / "live.json").read_bytes()
    make_live(own_bundles, wrong)
    assert registry.snapshot() is before
    assert registry.failure is not None and "golden.jsonl record 1" in registry.failure
    with pytest.raises(FmallocError, match=r"golden\.jsonl record 1"):
        registry.load()
    (own_bundles / "live.json").write_bytes(good)
    assert sorted(registry.snapshot().translators) == ["general", "it", "kitchen"]
    assert registry.failure is None


def test_an_engine_that_fails_in_the_replay_is_a_bad_bundle(own_bundles: Path) -> None:
    """The manifest promises more positions than the model has, so its endless outputs run off the table."""
    index = LiveIndex.of(own_bundles).with_bundle(write_bundle(own_bundles, "it", maximum_length=400).name)
    (own_bundles / "live.json").write_bytes(index.to_bytes())
    with pytest.raises(FmallocError, match=r"model: CTranslate2 failed: No position encodings"):
        Registry(own_bundles, CPU).load()


def test_nothing_to_serve(tmp_path: Path, own_bundles: Path) -> None:
    registry = Registry(tmp_path, CPU)
    with pytest.raises(NotReadyError, match=r"live\.json: cannot be read: No such file"):
        registry.snapshot()
    with pytest.raises(FmallocError, match=r"live\.json: cannot be read: No such file"):
        registry.load()
    (tmp_path / "live.json").write_bytes(b'{"version": 1, "domains": {}}')
    with pytest.raises(NotReadyError, match="no domain is live: run fmalloc-export first"):
        registry.snapshot()
    for item in own_bundles.iterdir():
        (shutil.copytree if item.is_dir() else shutil.copy)(item, tmp_path / item.name)
    assert sorted(registry.snapshot().translators) == ["general", "it", "kitchen"]


def test_a_bundle_that_is_not_there_is_named(own_bundles: Path) -> None:
    (own_bundles / "live.json").write_text(json.dumps({"version": 1, "domains": {"it": "it@0123456789ab"}}))
    with pytest.raises(FmallocError, match="it@0123456789ab: no such bundle directory"):
        Registry(own_bundles, CPU).load()


def test_one_language_pair_a_directory(own_bundles: Path) -> None:
    other = write_bundle(own_bundles, "it", languages=Languages(source="de", target="fr"))
    index = LiveIndex.of(own_bundles).with_bundle(other.name)
    (own_bundles / "live.json").write_bytes(index.to_bytes())
    with pytest.raises(FmallocError, match="expected one language pair, found de-en, de-fr"):
        Registry(own_bundles, CPU).load()


def test_requests_during_swaps_see_whole_snapshots(own_bundles: Path) -> None:
    names = [bundle_of(own_bundles, "it").name, write_bundle(own_bundles, "it", seed=9).name]
    index = LiveIndex.of(own_bundles)
    registry = Registry(own_bundles, CPU)
    expected = {}
    for name in names:
        (own_bundles / "live.json").write_bytes(index.with_bundle(name).to_bytes())
        expected[name] = registry.load().translate([TEXT], "it")[0]
    assert len({text for (text,) in expected.values()}) == 2
    seen, problems, stop = set(), [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            texts, route = registry.snapshot().translate([TEXT], "it")
            seen.add(route.bundle)
            if texts != expected[route.bundle]:
                problems.append((route.bundle, texts))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for turn in range(20):
        partial = own_bundles / "live.partial"
        partial.write_bytes(index.with_bundle(names[turn % 2]).to_bytes())
        partial.replace(own_bundles / "live.json")
        registry.snapshot()
    stop.set()
    for asker in askers:
        asker.join()
    assert not problems
    assert seen <= set(names) and seen
