"""Translators to be watched."""

from pathlib import Path

import pytest

from fmalloc_runtime.bundle.bundle import EngineInfo
from fmalloc_runtime.live.translator import Translator
from tests.support.batching import load
from tests.support.bundles import bundle_of, write_bundle
from tests.support.once import once


@pytest.fixture
def it(bundles: Path) -> Translator:
    """The domain `it`, to be watched."""
    return load(bundle_of(bundles, "it"))


@pytest.fixture
def general(bundles: Path) -> Translator:
    """The general domain, to be watched."""
    return load(bundle_of(bundles, "general"))


@pytest.fixture(scope="session")
def integer_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of int8 weights."""
    engine = EngineInfo(name="ctranslate2", minimum_version="4.0", quantization="int8")

    def build(folder: Path) -> None:
        write_bundle(folder, "it", seed=4, model={"quantization": "int8"}, engine=engine)

    (bundle,) = once(tmp_path_factory, "int8", build).iterdir()
    return bundle


@pytest.fixture
def integers(integer_bundle: Path) -> Translator:
    """A model that computes with int8, to be watched."""
    return load(integer_bundle)
