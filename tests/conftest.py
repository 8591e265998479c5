"""Small real things that many tests share: corpora, a pretrained base, a store with two learned tasks."""

import shutil
import signal
from pathlib import Path

import pytest
import torch

from fmalloc.model.devices import select
from fmalloc.model.scratch import Shape
from fmalloc.pretrain import PretrainingSettings, pretrain
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from fmalloc.training.schedule import Schedule
from tests.support.corpora import DOMAINS, LANGUAGES, small_recipe, write_domain


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
    root = tmp_path_factory.mktemp("corpora")
    for domain in DOMAINS:
        write_domain(root / domain, domain)
    return root


@pytest.fixture(scope="session")
def base(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Marian base that was really pretrained: d_model 32, 2+2 layers of 64 cells."""
    output = tmp_path_factory.mktemp("base") / "model"
    pretrain(
        corpora / "general",
        output,
        LANGUAGES,
        Shape(vocabulary=120, d_model=32, encoder_layers=2, decoder_layers=2, heads=2, ffn=64),
        PretrainingSettings(
            Schedule(updates=250, warmup_updates=60, validate_every=125, seed=1),
            batch_tokens=600,
            learning_rate=4e-3,
            maximum_length=64,
            label_smoothing=0.1,
        ),
        select("cpu"),
    )
    return output


@pytest.fixture(scope="session")
def learned(base: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that learned office, then games. Read only: copy it (fixture `store`) to change it."""
    path = tmp_path_factory.mktemp("learned") / "store"
    learn_tasks(small_recipe(base, corpora, path, "office", "games"))
    return path


@pytest.fixture
def store(learned: Path, tmp_path: Path) -> Store:
    """A copy of the learned store that a test may change."""
    shutil.copytree(learned, tmp_path / "store")
    return Store.open(tmp_path / "store")
