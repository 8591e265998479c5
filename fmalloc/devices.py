"""Where and in which precision to compute."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from fmalloc_shared.errors import FmallocError

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Device:
    """A torch device and the precision of matrix products on it; parameters stay float32."""

    torch: torch.device
    bfloat16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which to run forward passes."""
        return torch.autocast(self.torch.type, dtype=torch.bfloat16, enabled=self.bfloat16)


def select(device: DeviceName = "auto", precision: Precision = "auto") -> Device:
    """CUDA in bfloat16 where there is one, the CPU in float32 otherwise, unless told."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise FmallocError("device cuda: no CUDA device is available here; use 'cpu' or 'auto'")
    kind = "cuda" if device == "cuda" or (device == "auto" and available) else "cpu"
    return Device(torch.device(kind), precision == "bfloat16" or (precision == "auto" and kind == "cuda"))
