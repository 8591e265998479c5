"""F-MALLOC and its variants as methods."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from fmalloc.recipe import LearningSettings
from fmalloc.store.store import Store
from fmalloc_shared.files import sha256_files
from fmalloc_shared.names import GENERAL
from tests.support.methods import TASKS, learn, make

_WIDTH, _FREED, _WEIGHTS = 64, 26, 65


@pytest.mark.slow
def test_variants_start_from_one_general_model_and_claim_cells_of_their_own(
    base: Path, corpora: Path, tmp_path: Path
) -> None:
    stores = {}
    for name in ("fmalloc", "fmalloc-exclusive", "fmalloc-tfidf"):
        method = make(base, corpora, tmp_path / name, name, gates="open")
        learned = learn(method, "office")["office"]
        stores[name] = Store.open(method.folder / "store")
        owned = sum(len(memory.cells) for memory in stores[name].memory("office").values())
        assert learned.trained_parameters == owned * _WEIGHTS > 0
        folder = method.folder / "store" / "tasks" / "office"
        assert learned.bytes == (folder / "memory.safetensors").stat().st_size > 4 * owned * _WEIGHTS
        assert method.capacity_used() == pytest.approx(owned / (4 * _FREED))
        assert [method.state_of(domain, ["office"]) for domain in ("office", "games")] == ["office", GENERAL]
        metrics = method.scores_of("office", "office")
        assert metrics.score == stores[name].task("office").scores.domains["office"]
        assert method.scores_of("office", "games") is None
        general = method.scores_of(GENERAL, "office")
        assert general.score == stores[name].description.general_scores.domains["office"]
    files = [sha256_files(store.path / "base") for store in stores.values()]
    assert files[0] == files[1] == files[2]
    masks = [store.mask(GENERAL) for store in stores.values()]
    assert all(np.array_equal(masks[0][name], mask[name]) for mask in masks for name in mask)


@pytest.mark.slow
def test_tfidf_offers_the_free_cells_of_highest_score_with_their_own_weights(
    base: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {
        name: np.arange(_WIDTH, dtype=np.float64) for name in ("encoder.0", "encoder.1", "decoder.0", "decoder.1")
    }
    monkeypatch.setattr("fmalloc.learning.task.cell_scores", lambda *_arguments, **_named: scores)
    method = make(base, corpora, tmp_path, "fmalloc-tfidf", {"learning": {"share": 0.25}}, gates="open")
    learn(method)
    store = Store.open(method.folder / "store")
    for layer, general in store.mask(GENERAL).items():
        free = np.flatnonzero(~general)
        for task in TASKS:
            claimed, offered = store.memory(task)[layer].cells, free[-round(0.25 * len(free)) :]
            assert set(claimed) <= set(offered)
            free = np.setdiff1d(free, claimed)


def test_a_fresh_cell_has_no_history_to_rank() -> None:
    with pytest.raises(ValidationError, match="set fresh_cells: false"):
        LearningSettings(allocator="tfidf")
    assert LearningSettings(allocator="tfidf", fresh_cells=False).allocator == "tfidf"
