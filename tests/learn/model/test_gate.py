import pytest
import torch

from fmalloc.model.gate import hard_mask, soft_mask, temperature


@pytest.mark.parametrize("tau", [1 / 400, 1.0, 37.5, 400.0])
def test_the_gradient_is_compensated_whatever_the_temperature(tau: float) -> None:
    logits = torch.linspace(-10, 10, 41, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(41, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    soft_mask(logits, tau, 400.0).backward(upstream)
    open_share = torch.sigmoid(logits.detach())
    expected = 400.0 * open_share * (1 - open_share) * upstream
    torch.testing.assert_close(logits.grad, expected)


def test_it_equals_the_rescaled_gradient_of_hat_where_that_is_finite() -> None:
    logits, tau, tau_max = torch.linspace(-2, 2, 21, dtype=torch.float64), 3.0, 400.0
    plain = logits.clone().requires_grad_()
    torch.sigmoid(tau * plain).sum().backward()
    assert plain.grad is not None
    rescaled = tau_max / tau * (torch.cosh(tau * logits) + 1) / (torch.cosh(logits) + 1) * plain.grad
    ours = logits.clone().requires_grad_()
    soft_mask(ours, tau, tau_max).sum().backward()
    torch.testing.assert_close(ours.grad, rescaled)


def test_the_forward_pass_hardens_with_the_temperature() -> None:
    logits = torch.tensor([-1.0, -0.1, 0.1, 1.0])
    torch.testing.assert_close(soft_mask(logits, 400.0, 400.0), hard_mask(logits), atol=1e-6, rtol=0)
    assert hard_mask(torch.tensor([-1.0, 0.0, 1e-9])).tolist() == [0.0, 0.0, 1.0]


def test_the_temperature_rises_linearly_and_starts_again() -> None:
    cycle = [temperature(update, 5, 400.0) for update in range(10)]
    assert cycle[0] == cycle[5] == 1 / 400
    assert cycle[4] == cycle[9] == 400
    assert cycle[2] == pytest.approx((400 + 1 / 400) / 2)
