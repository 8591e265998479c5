"""Small real things that many tests share: corpora, a pretrained base, a store of two tasks, bundles, a browser."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser

from fmalloc.model.devices import select
from fmalloc.model.scratch import Shape
from fmalloc.pretraining.pretrain import pretrain
from fmalloc.pretraining.texts import Text
from fmalloc.pretraining.trainable import PretrainingSettings
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from fmalloc.training.schedule import Schedule
from tests.support.bundles import bundles as bundles
from tests.support.bundles import own_bundles as own_bundles
from tests.support.bundles import well_read as well_read
from tests.support.corpora import DOMAINS, LANGUAGES, POSITIONS, small_recipe, write_domain
from tests.support.needs import required
from tests.support.once import once
from tests.support.packing import packed, write_family
from tests.support.page import chromium


def pytest_configure() -> None:
    """A misspelled need is an error before any test runs."""
    required()


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A run in the background ignores SIGINT, and so would every process that the tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small models are fastest on one thread, and results do not depend on the machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the domains general, office and games."""

    def build(root: Path) -> None:
        for domain in DOMAINS:
            write_domain(root / domain, domain)

    return once(tmp_path_factory, "corpora", build)


@pytest.fixture(scope="session")
def base(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Marian base that was really pretrained: d_model 32, 2+2 layers of 64 cells.

    It is left the positions that its domains need: translations that do not end, of half-learned models, are as long
    as positions allow, and take most of the time.
    """
    shape = Shape(vocabulary=120, d_model=32, encoder_layers=2, decoder_layers=2, heads=2, ffn=64)
    settings = PretrainingSettings(
        Schedule(updates=250, warmup_updates=60, validate_every=125, seed=1),
        batch_tokens=600,
        learning_rate=4e-3,
        maximum_length=64,
        label_smoothing=0.1,
    )

    def build(folder: Path) -> None:
        pretrain([Text(corpora / "general")], folder / "model", LANGUAGES, shape, settings, select("cpu"))
        config = folder / "model" / "config.json"
        content = json.loads(config.read_text())
        config.write_text(json.dumps(content | {"max_position_embeddings": POSITIONS}, indent=2))

    return once(tmp_path_factory, "base", build) / "model"


@pytest.fixture(scope="session")
def learned(base: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that learned office, then games. Read only: copy it (fixture `store`) to change it."""

    def build(folder: Path) -> None:
        learn_tasks(small_recipe(base, corpora, folder / "store", "office", "games"))

    return once(tmp_path_factory, "learned", build) / "store"


@pytest.fixture
def store(learned: Path, tmp_path: Path) -> Store:
    """A copy of the learned store that a test may change."""
    shutil.copytree(learned, tmp_path / "store")
    return Store.open(tmp_path / "store")


@pytest.fixture(scope="session")
def packed_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed bundles of one base. Read only."""

    def build(folder: Path) -> None:
        write_family(folder)
        packed(folder)

    return once(tmp_path_factory, "packed", build)


@pytest.fixture
def own_packed_bundles(packed_bundles: Path, tmp_path: Path) -> Path:
    """A copy of them that a test may damage."""
    shutil.copytree(packed_bundles, tmp_path / "bundles")
    return tmp_path / "bundles"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. While it runs, no test of its process can run an event loop."""
    with chromium() as browser:
        yield browser
