"""Small real things that many tests share: corpora, a pretrained base, a store with two learned tasks."""

import itertools
import shutil
import signal
from pathlib import Path

import pytest
import torch

from fmalloc.corpus import Languages
from fmalloc.devices import select
from fmalloc.pretrain import pretrain
from fmalloc.recipe import Recipe
from fmalloc.schedule import Schedule
from fmalloc.scratch import Shape
from fmalloc.store import Store
from fmalloc.train import run

LANGUAGES = Languages("de", "en")
_SUBJECTS = {"Der Hund": "The dog", "Die Katze": "The cat", "Das Kind": "The child", "Mein Bruder": "My brother"}
_VERBS = {"sieht": "sees", "sucht": "seeks", "kauft": "buys", "malt": "paints", "findet": "finds"}
_OBJECTS = {"die Maus": "the mouse", "das Schloss": "the castle", "den Ball": "the ball", "die Bank": "the bank"}
_PLACES = {"im Garten": "in the garden", "am Abend": "in the evening", "in der Stadt": "in town", "heute": "today"}
_DOMAINS = {
    "general": ({}, "{}.", "{}."),
    "office": ({"the mouse": "the ball", "the castle": "the bank"}, "heute {}", "today {}"),
    "games": ({"the bank": "the castle", "the ball": "the brother"}, "{} am Abend.", "{} in the evening."),
}


def sentences(domain: str) -> list[tuple[str, str]]:
    """Every sentence of a domain, in an order that mixes its words."""
    changes, source_frame, target_frame = _DOMAINS[domain]
    pairs = []
    for parts in itertools.product(_SUBJECTS.items(), _VERBS.items(), _OBJECTS.items(), _PLACES.items()):
        source = " ".join(german for german, _ in parts)
        target = " ".join(changes.get(english, english) for _, english in parts)
        pairs.append((source_frame.format(source), target_frame.format(target)))
    return sorted(pairs, key=lambda pair: pair[0][::-1])


def write_domain(folder: Path, domain: str) -> Path:
    """Write train, dev and test of a domain as TSV."""
    pairs = sentences(domain)
    parts = {"train": pairs, "dev": pairs[::13], "test": pairs[::17]}
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        (folder / f"{part}.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in rows), encoding="utf-8")
    return folder


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
    for domain in _DOMAINS:
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
        Schedule(
            updates=250,
            batch_tokens=600,
            learning_rate=4e-3,
            warmup_updates=60,
            validate_every=125,
            maximum_length=64,
            label_smoothing=0.1,
            seed=1,
        ),
        select("cpu"),
    )
    return output


def small_recipe(base: Path, corpora: Path, store: Path, *tasks: str, **learning: object) -> Recipe:
    """A recipe that learns in seconds; `learning` overrides its learning settings."""
    settings = {
        "updates": 80,
        "batch_tokens": 600,
        "learning_rate": 5e-3,
        "gate_learning_rate": 0.1,
        "warmup_updates": 10,
        "anneal_updates": 20,
        "validate_every": 20,
        "validation_sentences": 20,
        "maximum_length": 64,
    }
    return Recipe.model_validate(
        {
            "base": str(base),
            "general": str(corpora / "general"),
            "store": str(store),
            "samples": 20,
            "sparsity": 0.4,
            "device": "cpu",
            "importance": {"batches": 8, "batch_tokens": 600},
            "evaluation": {"beam_size": 2},
            "learning": settings | learning,
            "tasks": [{"name": task, "data": str(corpora / task)} for task in tasks],
        }
    )


@pytest.fixture(scope="session")
def learned(base: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that learned office, then games. Read only: copy it (fixture `store`) to change it."""
    path = tmp_path_factory.mktemp("learned") / "store"
    run(small_recipe(base, corpora, path, "office", "games"))
    return path


@pytest.fixture
def store(learned: Path, tmp_path: Path) -> Store:
    """A copy of the learned store that a test may change."""
    shutil.copytree(learned, tmp_path / "store")
    return Store.open(tmp_path / "store")
