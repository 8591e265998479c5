from pathlib import Path
from typing import Any

import pytest
import torch

from fmalloc.model.architectures import FeedForwardLayer, feed_forward_layers, load_base
from fmalloc.model.feedforward import GatedFeedForward, MaskedFeedForward, block_of, replace, slice_cells
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import Batch


@pytest.fixture
def model(base: Path) -> Any:
    return load_base(base)[0]


def batch(vocabulary: int) -> Batch:
    generator = torch.Generator().manual_seed(3)
    source = torch.randint(2, vocabulary - 1, (4, 9), generator=generator)
    target = torch.randint(2, vocabulary - 1, (4, 7), generator=generator)
    return Batch(source, torch.ones_like(source), target)


def masks(model: Any, share: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {layer.name: torch.rand(layer.width, generator=generator) < share for layer in feed_forward_layers(model)}


def test_with_every_cell_on_a_masked_model_is_the_untouched_one_bit_for_bit(model: Any) -> None:
    given = batch(model.config.vocab_size)
    untouched = logits(model, given)
    for layer in feed_forward_layers(model):
        replace(layer, MaskedFeedForward(layer, torch.ones(layer.width)))
    assert torch.equal(logits(model, given), untouched)


@pytest.mark.parametrize("share", [0.8, 0.1, 0.0])
def test_masked_and_sliced_models_agree(base: Path, share: float) -> None:
    masked, sliced = load_base(base)[0], load_base(base)[0]
    keep = masks(masked, share)
    keep["encoder.1"][:] = False
    keep["decoder.0"][:] = False
    keep["decoder.0"][7] = True
    for layer in feed_forward_layers(masked):
        replace(layer, MaskedFeedForward(layer, keep[layer.name]))
    for layer in feed_forward_layers(sliced):
        slice_cells(layer, keep[layer.name])
        assert layer.width == int(keep[layer.name].sum())
    given = batch(masked.config.vocab_size)
    torch.testing.assert_close(logits(sliced, given), logits(masked, given), atol=2e-5, rtol=0)


def gated(layer: FeedForwardLayer, gates: torch.Tensor, split: int) -> GatedFeedForward:
    cells, order = block_of(layer), torch.randperm(layer.width, generator=torch.Generator().manual_seed(1))
    return GatedFeedForward(layer, order[:split], cells.select(order[split:]), gates, 400.0)


@pytest.mark.parametrize("split", [0, 40, 64])
def test_two_open_blocks_are_the_whole_layer(model: Any, split: int) -> None:
    layer = feed_forward_layers(model)[0]
    hidden = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(2))
    whole = layer.module.fc2(layer.module.activation_fn(layer.module.fc1(hidden)))
    module = gated(layer, torch.ones(64), split).eval()
    torch.testing.assert_close(module(hidden), whole, atol=1e-5, rtol=0)


def test_read_only_cells_are_no_parameters_and_get_no_gradient(model: Any) -> None:
    layer = feed_forward_layers(model)[0]
    module = gated(layer, torch.full((64,), 0.1), 40)
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == {
        "keys": (24, 32),
        "biases": (24,),
        "values": (32, 24),
        "gates": (64,),
    }
    module.tau = 1.0
    module(torch.randn(2, 3, 32)).square().sum().backward()
    assert all(buffer.grad is None for buffer in module.buffers())
    assert module.gates.grad is not None
    assert module.gates.grad[:40].abs().sum() > 0


def test_a_closed_cell_contributes_nothing_under_the_hard_mask(model: Any) -> None:
    layer = feed_forward_layers(model)[0]
    gates = torch.ones(64)
    gates[50] = -1
    module = gated(layer, gates, 40).eval()
    hidden = torch.randn(1, 2, 32)
    before = module(hidden)
    with torch.no_grad():
        module.values[:, 10] += 100
    assert torch.equal(module(hidden), before)
