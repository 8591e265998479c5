import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fmalloc.model import readonly
from fmalloc.model.readonly import read_only


def plain(hidden: Tensor, keys: Tensor, biases: Tensor, values: Tensor, mask: Tensor, activation: object) -> Tensor:
    assert callable(activation)
    return F.linear(activation(F.linear(hidden, keys, biases)) * mask, values)


def results(function: object, cells: int, activation: object, *, input_gradient: bool = True) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden, keys, biases, values, mask, upstream = (
        torch.randn(*shape, generator=generator)
        for shape in ((3, 5, 8), (cells, 8), (cells,), (8, cells), (cells,), (3, 5, 8))
    )
    hidden.requires_grad_(input_gradient)
    mask.requires_grad_()
    assert callable(function)
    output = function(hidden, keys, biases, values, mask, activation)
    output.backward(upstream)
    gradients = [tensor.grad for tensor in (hidden, mask) if tensor.requires_grad]
    assert not any(tensor.requires_grad for tensor in (keys, biases, values))
    return [output.detach(), *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("activation", [torch.relu, F.silu, F.gelu])
@pytest.mark.parametrize("cells", [0, 1, 21])
@pytest.mark.parametrize("input_gradient", [True, False])
@pytest.mark.parametrize("cached", [1, 63, 10**9])
def test_it_is_the_plain_block(
    activation: object, cells: int, input_gradient: bool, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readonly, "_CACHED", cached)
    found = results(read_only, cells, activation, input_gradient=input_gradient)
    expected = results(plain, cells, activation, input_gradient=input_gradient)
    assert len(found) == len(expected) == 2 + input_gradient
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_under_autocast_it_computes_in_bfloat16() -> None:
    expected = results(plain, 21, torch.relu)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(lambda *given: read_only(*given).float(), 21, torch.relu)
    assert not torch.equal(found[0], expected[0])
    torch.testing.assert_close(found, expected, atol=0.3, rtol=0.05)
