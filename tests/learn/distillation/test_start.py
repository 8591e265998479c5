"""A domain's student begins as the shallow general model with what is the domain's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fmalloc.distillation.start import shallow_general, start_of
from fmalloc.distillation.student import load_student, student_of
from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.assembly import load_sliced
from fmalloc.store.distilled import Distilled
from fmalloc.store.store import Store, writing
from tests.support.lifecycle import learn
from tests.support.stores import CORE_BASES, commit, write_store
from tests.support.students import write_student

KEYS, VALUES = "model.decoder.layers.1.fc1.weight", "model.encoder.layers.0.fc2.weight"
QUERY, NORM = "model.decoder.layers.1.self_attn.q_proj.weight", "model.encoder.layers.0.final_layer_norm.weight"
PAIRS_OF_ROWS = np.ones((16, 2), dtype=np.float32)


def same(model: Any, other: Any) -> bool:
    tensors, others = model.state_dict(), other.state_dict()
    return set(tensors) == set(others) and all(
        torch.allclose(tensor, others[name], atol=1e-6) for name, tensor in tensors.items()
    )


@pytest.mark.parametrize("kind", CORE_BASES)
@pytest.mark.parametrize("layer", [0, 1])
def test_from_a_general_model_that_has_not_moved_it_begins_as_the_domains_own(
    kind: str, layer: int, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "store", kind)
    shallow = write_student(store, "general", layer)
    for domain in ("it", "odd", "late"):
        assert same(start_of(store, domain, shallow), student_of(load_sliced(store, domain)[0], [layer]))


def test_private_parameters_are_put_in_where_they_fit(tmp_path: Path) -> None:
    """Those of a layer that is left, and not those of one that is not."""
    store = write_store(tmp_path / "store")
    none, masks = {layer: np.zeros(0, dtype=np.int64) for layer in store.layers}, store.mask("general")
    on = {layer: mask.astype(np.float32)[:, None] @ np.ones((1, 2), dtype=np.float32) for layer, mask in masks.items()}
    private = {
        f"{KEYS}.up": on["decoder.1"],
        f"{KEYS}.down": PAIRS_OF_ROWS.T.copy(),
        f"{VALUES}.up": PAIRS_OF_ROWS,
        f"{VALUES}.down": on["encoder.0"].T.copy(),
        f"{QUERY}.up": PAIRS_OF_ROWS,
        f"{QUERY}.down": PAIRS_OF_ROWS.T.copy(),
        NORM: np.full(16, 0.5, dtype=np.float32),
    }
    commit(store, "private", masks, none, (), seed=5, private=private)
    for layer in (0, 1):
        found = start_of(store, "private", write_student(store, "general", layer))
        assert same(found, student_of(load_sliced(store, "private")[0], [layer]))
        assert not same(found, student_of(load_sliced(store, "general")[0], [layer]))
    store.verify()


def test_what_the_general_model_learned_comes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shared weights and the cells of general move; the domain's cells stay as they were learned."""
    store = write_store(tmp_path / "store")
    shallow = write_student(store, "general", 1)
    tensors = Distilled.tensors

    def moved(self: Distilled) -> dict[str, np.ndarray]:
        return {name: values + np.float32(0.25) for name, values in tensors(self).items()}

    before = start_of(store, "late", shallow)
    monkeypatch.setattr(Distilled, "tensors", moved)
    after, general = start_of(store, "late", shallow), load_student(store, shallow)[0]
    change: Tensor = after.model.shared.weight - before.model.shared.weight
    assert torch.allclose(change, torch.full_like(change, 0.25), atol=1e-6)
    owned = store.memory("late")["encoder.1"].cells
    mask = np.flatnonzero(store.mask("late")["encoder.1"])
    is_general = torch.from_numpy(store.mask("general")["encoder.1"][mask])
    layers = [feed_forward_layers(model)[1].module.fc1.weight for model in (before, after)]
    difference = (layers[1] - layers[0]).abs().amax(dim=1)
    assert torch.allclose(difference[is_general], torch.tensor(0.25), atol=1e-6)
    assert not difference[~is_general].any()
    assert set(owned) <= set(mask[~is_general.numpy()])
    assert feed_forward_layers(general)[1].width == int(store.mask("general")["encoder.1"].sum())


def test_the_general_model_that_learned_longest_is_taken(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    assert shallow_general(store, 1) is None
    write_student(store, "late", 1)
    assert shallow_general(store, 1) is None
    found = [write_student(store, "general", 0, updates=updates) for updates in (3, 7, 5)]
    assert shallow_general(store, 1) == found[1]
    assert shallow_general(store, 2) is None
    other = write_store(tmp_path / "other", "nllb")
    (other.path / "distilled").mkdir()
    found[0].path.rename(other.path / "distilled" / found[0].path.name)
    assert shallow_general(Store.open(other.path), 1) is None


def test_cells_that_a_store_grew_by_are_the_domains_own(tmp_path: Path) -> None:
    """A task that was learned after a growth is wider than the general model."""
    store = write_store(tmp_path / "store")
    shallow = write_student(store, "general", 1)
    with writing(store.path):
        store.grow(4, seed=1)
    learn(store, "law")
    assert same(start_of(store, "law", shallow), student_of(load_sliced(store, "law")[0], [1]))
    student = write_student(store, "law", 1)
    assert same(load_student(store, student)[0], student_of(load_sliced(store, "law")[0], [1]))
    assert store.verify()
