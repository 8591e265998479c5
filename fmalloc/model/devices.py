"""Where and in which precision to compute, and the environment that results depend on."""

import os
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import torch

from fmalloc_shared.errors import FmallocError

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]

_LIBRARIES = ("fmalloc", "torch", "transformers", "sacrebleu")


@dataclass(frozen=True)
class Device:
    """A torch device and the precision of matrix products on it; parameters stay float32."""

    torch: torch.device
    bfloat16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which to run forward passes."""
        return torch.autocast(self.torch.type, dtype=torch.bfloat16, enabled=self.bfloat16)


def select(device: DeviceName = "auto", precision: Precision = "auto") -> Device:
    """CUDA in bfloat16 where available, otherwise the CPU in float32, unless set explicitly.

    Each process that torchrun starts on a machine gets its own CUDA device.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise FmallocError("device cuda: no CUDA device is available; use 'cpu' or 'auto'")
    kind = "cuda" if device == "cuda" or (device == "auto" and available) else "cpu"
    bfloat16 = precision == "bfloat16" or (precision == "auto" and kind == "cuda")
    own = os.environ.get("LOCAL_RANK") if kind == "cuda" else None
    if own is None:
        return Device(torch.device(kind), bfloat16)
    if int(own) >= torch.cuda.device_count():
        raise FmallocError(f"more processes on this machine than its {torch.cuda.device_count()} CUDA devices")
    torch.cuda.set_device(int(own))
    return Device(torch.device(kind, int(own)), bfloat16)


def versions() -> dict[str, str]:
    """Installed version of each library that decides results."""
    return {name: version(name) for name in _LIBRARIES}


def environment_of(device: Device) -> dict[str, str]:
    """Versions, Python's included, and the device with the precision of matrix products on it."""
    return versions() | {
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device.torch) if device.torch.type == "cuda" else device.torch.type,
        "precision": "bfloat16" if device.bfloat16 else "float32",
    }
