"""Rounded weights are those of CTranslate2's int8 models."""

import ctranslate2
import numpy as np
import torch

from fmalloc.distillation.rounding import held_rounded, rounded, straight_through


def test_rows_are_rounded_as_ctranslate2_stores_them() -> None:
    weight = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    weight[3] = 0
    spec = ctranslate2.specs.common_spec.LinearSpec()
    spec.weight = weight.numpy().copy()
    spec.validate()
    spec.optimize("int8")
    stored = spec.weight.numpy().astype(np.float32) / spec.weight_scale.numpy()[:, None]
    np.testing.assert_allclose(rounded(weight).numpy(), stored, rtol=1e-6)
    assert rounded(torch.zeros(0, 4)).shape == (0, 4)


def test_gradients_pass_as_if_nothing_was_rounded() -> None:
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
    bias = torch.zeros(3, requires_grad=True)
    found = straight_through({"weight": weight, "bias": bias})
    assert set(found) == {"weight"}
    torch.testing.assert_close(found["weight"], rounded(weight))
    (found["weight"] * 3).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.full((3, 4), 3.0))


def test_held_weights_come_back() -> None:
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    before = weight.clone()
    with held_rounded({"weight": weight}):
        assert torch.equal(weight, rounded(before))
        assert not torch.equal(weight, before)
    assert torch.equal(weight, before)
