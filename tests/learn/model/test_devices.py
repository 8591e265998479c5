"""Where, in which precision and by which kernels is computed."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from fmalloc.model import devices
from fmalloc.model.devices import Device, attention, select

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("speed", "width", "bfloat16"), [(2.0, 128, True), (2.0, 127, False), (2.0, None, False), (1.4, 512, False)]
)
def test_auto_is_bfloat16_on_processors_that_are_faster_so(
    speed: float, width: int | None, bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "bfloat16_speed", lambda _place: speed)
    devices._pays.cache_clear()
    assert select("cpu", width=width).bfloat16 is bfloat16
    assert select("cpu", "bfloat16", width=width).bfloat16 and not select("cpu", "float32", width=width).bfloat16
    devices._pays.cache_clear()


def test_speeds_are_measured() -> None:
    assert 1e-4 < devices.bfloat16_speed(CPU) < 1e4  # some CPUs have instructions for it, others emulate it


def test_attention_in_bfloat16_is_that_of_float32_but_for_rounding() -> None:
    generator = torch.Generator().manual_seed(1)
    found = []
    for bfloat16 in (False, True):
        query = torch.randn(2, 4, 9, 16, generator=generator.manual_seed(1)).requires_grad_()
        with Device(CPU, bfloat16).autocast(), attention(CPU):
            output = F.scaled_dot_product_attention(query, query, query, is_causal=True)
        assert output.dtype == (torch.bfloat16 if bfloat16 else torch.float32)
        output.float().square().sum().backward()
        found.append((output.detach().float(), query.grad))
    torch.testing.assert_close(found[1], found[0], atol=0.1, rtol=0.05)


def test_kernels_are_chosen_inside_and_free_outside() -> None:
    for device, kernels in (
        (Device(CPU, False), (True, True, True, True)),
        (Device(CPU, True), (False, False, True, False)),
        (Device(torch.device("meta"), False), (True, True, True, False)),
    ):
        with device.autocast() if device.torch == CPU else nullcontext(), attention(device.torch):
            assert _kernels() == kernels
        assert _kernels() == (True, True, True, True)


def _kernels() -> tuple[bool, bool, bool, bool]:
    backends = torch.backends.cuda
    return (
        backends.flash_sdp_enabled(),
        backends.mem_efficient_sdp_enabled(),
        backends.math_sdp_enabled(),
        backends.cudnn_sdp_enabled(),
    )
