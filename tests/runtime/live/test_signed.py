"""Servers that ask for signatures: what nobody signed is not loaded, and what was served before stays."""

import logging
import shutil
from pathlib import Path

import pytest

from fmalloc_runtime.bundle.bundle import LiveIndex
from fmalloc_runtime.live import registry as module
from fmalloc_runtime.live.registry import Registry
from fmalloc_shared.errors import FmallocError
from tests.support.bundles import CPU, SENTENCES, bundle_of, make_live, write_bundle
from tests.support.signing import pair, signature_of, signed, trusting

TEXT = SENTENCES["it"][0]


def translated(registry: Registry) -> str:
    (translation,), _ = registry.snapshot().translate([TEXT], "it")
    return translation.text


def test_every_live_bundle_has_to_be_signed(own_bundles: Path, tmp_path: Path) -> None:
    key, public = pair(tmp_path)
    for domain in ("general", "kitchen"):
        signed(bundle_of(own_bundles, domain), key)
    registry = Registry(own_bundles, CPU, trusted=trusting(public))
    with pytest.raises(FmallocError, match=r"it@\w+: is not signed"):
        registry.load()
    assert Registry(own_bundles, CPU).load().bundles["it"].signed is None
    signed(own_bundles, key)
    snapshot = registry.load()
    assert {bundle.signed.key for bundle in snapshot.bundles.values() if bundle.signed} == {trusting(public).ids}


def test_an_unsigned_bundle_is_not_taken_over_and_the_one_before_goes_on(
    own_bundles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, public = pair(tmp_path)
    other, _ = pair(tmp_path, "other")
    signed(own_bundles, key)
    registry = Registry(own_bundles, CPU, trusted=trusting(public))
    served = registry.load().bundles["it"]
    before = translated(registry)
    new = write_bundle(own_bundles, "it", seed=9)
    everything = {**LiveIndex.of(own_bundles).domains, "it": new.name}
    make_live(own_bundles, *(own_bundles / name for name in everything.values()))
    monkeypatch.setattr(module, "_RETRY", 0.0)
    refusals = (
        (lambda: None, f"{new.name}: is not signed"),
        (lambda: signed(new, other), "which is not trusted"),
        (lambda: shutil.copy(signature_of(served.path), signature_of(new)), "or it belongs to another bundle"),
    )
    for attempt, message in refusals:
        attempt()
        with caplog.at_level(logging.ERROR):
            registry.refresh()
        assert registry.failure and message in registry.failure and trusting(public).ids in registry.failure
        assert message in caplog.text
        assert registry.snapshot().bundles["it"] is served and translated(registry) == before
        caplog.clear()
    signed(new, key, force=True)
    registry.refresh()
    assert registry.failure is None
    assert registry.snapshot().bundles["it"].name == new.name and translated(registry) != before


def test_a_model_that_is_loaded_later_is_compared_with_what_was_signed(own_bundles: Path, tmp_path: Path) -> None:
    key, public = pair(tmp_path)
    signed(own_bundles, key)
    registry = Registry(own_bundles, CPU, preload=[], trusted=trusting(public))
    snapshot = registry.load()
    path = bundle_of(own_bundles, "it")
    changed = write_bundle(tmp_path / "elsewhere", "it", seed=9)
    shutil.rmtree(path)
    changed.rename(path)
    with pytest.raises(FmallocError, match=r"model.bin: sha256 is"):
        snapshot.translate([TEXT], "it")
