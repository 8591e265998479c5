from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmalloc.model.assembly import load_dense
from fmalloc_export.domain.domain import domain_model
from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_shared.errors import FmallocError
from tests.support.stores import LAYERS, WIDTH, write_store


def layer(name: str = "encoder.0", width: int = 3, size: int = 2) -> FeedForward:
    draw = np.random.default_rng(width)
    return FeedForward(
        name=name,
        cells=np.arange(width, dtype=np.int64) * 2,
        mask=np.arange(width) % 2 == 0,
        fc1_weight=draw.normal(size=(width, size)).astype(np.float32),
        fc1_bias=draw.normal(size=width).astype(np.float32),
        fc2_weight=draw.normal(size=(size, width)).astype(np.float32),
        fc2_bias=draw.normal(size=size).astype(np.float32),
    )


def of(*layers: FeedForward) -> DomainModel:
    return DomainModel("it", "marian", "relu", layers, np.arange(9))


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [([], "at least one"), ([2, 1], "not strictly ascending"), ([1, 1], "not strictly"), ([-1, 3], "of 0 and above")],
)
def test_target_tokens_are_ascending_ids(tokens: list[int], problem: str) -> None:
    with pytest.raises(FmallocError, match=problem):
        replace(of(layer()), target_tokens=np.array(tokens, dtype=np.int64)).verify()


def test_a_well_formed_model_verifies() -> None:
    of(layer(), layer("decoder.0", 5)).verify()
    of(layer(width=0)).verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": np.array([0, 4, 4])}, "not strictly ascending"),
        ({"cells": np.array([0, 4, 2])}, "not strictly ascending"),
        ({"cells": np.array([-3, 1, 2])}, "cell -3, expected ids of 0 and above"),
        ({"cells": np.array([0, -1, 2])}, "padding cells come before other cells"),
        ({"cells": np.array([0, 2, -1])}, "padding cells are not zero"),
        ({"mask": np.array([1, 0, 1])}, "mask is int64"),
        ({"fc1_bias": np.zeros(4, dtype=np.float32)}, r"fc1_bias is float32\(4,\), expected float32\(3,\)"),
        ({"fc1_weight": np.zeros((3, 2))}, r"fc1_weight is float64\(3, 2\), expected float32"),
        ({"fc2_weight": np.zeros((3, 2), dtype=np.float32)}, r"expected float32\(2, 3\)"),
        ({"fc2_bias": np.array([np.nan, 0], dtype=np.float32)}, "fc2_bias holds NaN or infinite"),
        ({"fc1_bias": np.array([0, np.inf, 0], dtype=np.float32)}, "fc1_bias holds NaN or infinite"),
    ],
)
def test_a_malformed_layer_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    model = of(replace(layer(), **change))
    with pytest.raises(FmallocError, match=f"domain 'it': encoder.0: .*{message}"):
        model.verify()


def test_all_problems_are_reported_at_once() -> None:
    first = replace(layer(), fc1_bias=np.zeros(4, dtype=np.float32))
    second = replace(layer(size=3), cells=np.array([5, 3, 1]))
    with pytest.raises(FmallocError) as error:
        of(first, second).verify()
    for problem in ("fc1_bias is", "not strictly ascending", "layer names repeat", "differ in model size"):
        assert problem in str(error.value)


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(FmallocError, match="no feed-forward layers"):
        of().verify()


def test_a_domain_of_a_store_holds_base_and_owned_cells(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    base, _ = load_dense(store, "general")
    dense, _ = load_dense(store, "late")
    model = domain_model("late", dense, store.mask("late"), np.arange(50))
    assert (model.family, model.activation) == ("marian", "swish")
    np.testing.assert_array_equal(model.target_tokens, np.arange(50))
    assert model.widths == dict.fromkeys(LAYERS, WIDTH)
    for block, stack in zip(model.feed_forward, ("encoder", "encoder", "decoder", "decoder"), strict=True):
        expected = getattr(base.model, stack).layers[int(block.name[-1])]
        weights = [expected.fc1.weight.numpy().copy(), expected.fc1.bias.numpy().copy()]
        values = expected.fc2.weight.numpy().copy()
        for task in ("it", "late"):
            memory = store.memory(task)[block.name]
            assert len(memory.cells) > 0
            weights[0][memory.cells], weights[1][memory.cells] = memory.fc1_weight, memory.fc1_bias
            values[:, memory.cells] = memory.fc2_weight
        np.testing.assert_array_equal(block.fc1_weight, weights[0])
        np.testing.assert_array_equal(block.fc1_bias, weights[1])
        np.testing.assert_array_equal(block.fc2_weight, values)
        np.testing.assert_array_equal(block.fc2_bias, expected.fc2.bias.numpy())
        np.testing.assert_array_equal(block.mask, store.mask("late")[block.name])


def test_masks_of_another_base_are_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    dense, _ = load_dense(store, "it")
    masks = store.mask("it")
    del masks["decoder.1"]
    with pytest.raises(FmallocError, match="has masks for encoder.0, encoder.1, decoder.0, its base has layers"):
        domain_model("it", dense, masks, np.arange(50))
