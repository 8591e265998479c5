"""Half fine-tuning: the half that was not drawn is bit-identical, and every task draws anew."""

from pathlib import Path

import numpy as np
import pytest

from fmalloc.methods.hft import chosen_half
from fmalloc.methods.method import BASE
from fmalloc.model.architectures import load_base
from fmalloc.model.assembly import module_of, trainable_parameters
from tests.support.bases import BASES
from tests.support.methods import learn, make, moved


def test_exactly_the_drawn_half_moves(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "hft")
    learned = learn(method)
    drawn = []
    for task, before in (("office", BASE), ("games", "office")):
        index = len(drawn)
        half = chosen_half(method.load(BASE)[0], np.random.default_rng([1, index]))
        drawn.append(set(half))
        distances = moved(method, task, before)
        assert {name for name, far in distances.items() if bool((far > 0).any())} <= set(half)
        still = [name for name in half if not bool((distances[name] > 0).any())]
        assert all("k_proj.bias" in name for name in still), still  # softmax is blind to a shift of all keys
        assert learned[task].trained_parameters == sum(parameter.numel() for parameter in half.values())
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("family", BASES)
def test_half_of_every_category_is_drawn(family: str, tmp_path: Path) -> None:
    write, _, _ = BASES[family]
    write(tmp_path / "base")
    model = load_base(tmp_path / "base")[0]
    half = {module_of(name) for name in chosen_half(model, np.random.default_rng(3))}
    attention = [f"model.decoder.layers.1.encoder_attn.{name}_proj" for name in ("q", "k", "v", "out")]
    assert sum(module in half for module in attention) == 2
    assert sum(f"model.encoder.layers.0.{name}" in half for name in ("fc1", "fc2")) == 1
    every = {module_of(name) for name in trainable_parameters(model)}
    assert half < every
