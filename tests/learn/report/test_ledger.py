"""The ledger: who reads whom, bytes, room with its uncertainty, and a warning before a task that will not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fmalloc.commands import status, train
from fmalloc.report.ledger import Ledger, shortage
from fmalloc.store.store import Store
from tests.support.stores import LAYERS, PAIRS, WIDTH, commit, write_store


@pytest.fixture
def small(tmp_path: Path) -> Store:
    """General, "it", "odd" that owns nothing, and "late" that reads "it"; no cell is free."""
    store = write_store(tmp_path / "store")
    shutil.rmtree(store.path / ".work")
    return store


def claim(store: Store, name: str, cells: int) -> None:
    """A task that owns the first free cells of every layer."""
    free = {layer: store.cells().free(layer)[:cells] for layer in LAYERS}
    masks = {layer: np.isin(np.arange(width), free[layer]) for layer, width in store.widths().items()}
    commit(store, name, masks, free, PAIRS, seed=5)
    shutil.rmtree(store.path / ".work")


def test_readers_are_counted_by_owner_reader_and_layer(small: Store) -> None:
    ledger = Ledger.of(small)
    assert set(ledger.readers["it"]) == {"late"} and ledger.readers["late"] == ledger.readers["odd"] == {}
    masks, cells = small.mask("late"), small.memory("it")
    for layer, count in ledger.readers["it"]["late"].items():
        assert count == len(cells[layer].cells) == int(masks[layer][cells[layer].cells].sum())
    assert sum(ledger.readers["general"]["odd"].values()) == sum(int(mask.sum()) for mask in small.mask("odd").values())


def test_bytes_are_those_on_disk(small: Store) -> None:
    small.grow(4, 1)
    shutil.rmtree(small.path / ".work")
    sizes = Ledger.of(small).sizes
    files = [path for path in small.path.rglob("*") if path.is_file() and path.name != ".lock"]
    assert sum(sizes.values()) == sum(path.stat().st_size for path in files)
    assert sizes["late"] == sum(path.stat().st_size for path in (small.path / "tasks/late").iterdir())
    assert sizes["fresh cells"] == sum(path.stat().st_size for path in (small.path / "grown/1").iterdir())


def test_room_is_said_with_its_spread_before_and_after_a_growth(small: Store) -> None:
    assert Ledger.of(small).record()["room"] == {"least": 0, "middle": 0, "most": 0}
    small.grow(20, 1)
    assert Ledger.of(small).record()["room"] == {"least": 4, "middle": 4, "most": 4}
    claim(small, "small", 2)
    assert Ledger.of(small).record()["room"] == {"least": 3, "middle": 3, "most": 9}


def test_a_warning_names_what_will_not_fit_and_what_would_help(small: Store) -> None:
    small.grow(20, 1)
    claim(small, "small", 2)
    assert shortage(small, ["a", "b", "c"]) is None
    message = shortage(small, [*"abcd"]) or ""
    assert message.startswith("d may not fit: there is room for 3 domains (3 to 9) like the 3 domains so far, 4 are")
    assert "fmalloc grow" in message and "learning.private" in message
    message = shortage(small, [*"abcdefghijk"]) or ""
    assert message.startswith("j, k will not fit")
    (cells,) = [int(word) for word in message.replace("`", " ").split() if word.isdigit() and int(word) % 8 == 0]
    small.grow(cells, 1)
    assert Ledger.of(small).forecast.range[1] >= 11  # type: ignore[index]


def test_a_store_of_no_claims_has_no_forecast(tmp_path: Path, small: Store) -> None:
    room = Ledger.of(small).forecast
    assert {fit.domain for fit in room.fits} == {"it", "late"}


def test_status_shows_it_as_a_table_and_as_json(small: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    small.grow(20, 1)
    result = CliRunner().invoke(status, [str(small.path)])
    assert result.exit_code == 0, result.output
    assert "Ledger" in result.output and "late (20)" in result.output
    assert "room for 4 domains like the 2 domains so far" in result.output
    found = json.loads(CliRunner().invoke(status, [str(small.path), "--json"]).output)
    assert found["ledger"] == json.loads(json.dumps(Ledger.of(small).record()))
    assert found["cells"]["encoder.0"]["width"] == WIDTH + 20


@pytest.mark.parametrize("growth", [0, 512])
def test_training_warns_before_it_learns(base: Path, corpora: Path, store: Store, growth: int) -> None:
    if growth:
        store.grow(growth, 1)
    arguments = ["--base", str(base), "--general", str(corpora / "general"), "--store", str(store.path), "--dry-run"]
    tasks = [f"--task=d{number}={corpora / 'office'}" for number in range(9)]
    recipe = store.path.parent / "recipe.yaml"
    recipe.write_text("sparsity: 0.4\nlearning: {share: 1}\n")
    result = CliRunner().invoke(train, [str(recipe), *arguments, *tasks])
    assert result.exit_code == 0, result.output
    assert ("will not fit: there is room for" in result.output) == (growth == 0), result.output
