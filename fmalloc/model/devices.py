"""Where and in which precision to compute, and the environment that results depend on."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fmalloc_shared import __version__
from fmalloc_shared.errors import FmallocError

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]

# Of what is measured to choose the precision on a CPU. Those with the instructions multiply two to four times as fast
# in bfloat16, others no faster, so that chance does not decide; small matrices are not worth the conversions.
_SIDE, _REPEATS = 1024, 5
PAYS = 1.5
_LEAST_WIDTH = 128

_LIBRARIES = ("torch", "transformers", "sacrebleu")


@dataclass(frozen=True)
class Device:
    """A torch device and the precision of matrix products on it; parameters stay float32."""

    torch: torch.device
    bfloat16: bool

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """The context in which to run forward passes that are trained, for their precision."""
        with torch.autocast(self.torch.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            yield


def attention(place: torch.device) -> AbstractContextManager[None]:
    """Which of PyTorch's attentions compute within this context: all forward passes and searches run in one."""
    if place.type == "cpu":
        # The fused one of the CPU takes several times as long to go backward in bfloat16 as in float32.
        return sdpa_kernel([SDPBackend.MATH]) if torch.is_autocast_enabled("cpu") else nullcontext()
    # Not cuDNN's, which plans anew for every shape of a batch: most of an update's time.
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def select(device: DeviceName = "auto", precision: Precision = "auto", *, width: int | None = None) -> Device:
    """CUDA in bfloat16 where available, otherwise the CPU, unless set explicitly.

    `width`: d_model of what is trained. On a CPU it is trained in bfloat16 if matrices of a real model's size are
    multiplied faster so; without a width, or below 128, in float32. Each process that torchrun starts on a machine
    gets its own CUDA device.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise FmallocError("device cuda: no CUDA device is available; use 'cpu' or 'auto'")
    kind = "cuda" if device == "cuda" or (device == "auto" and available) else "cpu"
    large = isinstance(width, int) and width >= _LEAST_WIDTH
    bfloat16 = precision == "bfloat16" or (precision == "auto" and (kind == "cuda" or (large and _pays())))
    own = os.environ.get("LOCAL_RANK") if kind == "cuda" else None
    if own is None:
        return Device(torch.device(kind), bfloat16)
    if int(own) >= torch.cuda.device_count():
        raise FmallocError(f"more processes on this machine than its {torch.cuda.device_count()} CUDA devices")
    torch.cuda.set_device(int(own))
    return Device(torch.device(kind, int(own)), bfloat16)


def bfloat16_speed(place: torch.device) -> float:
    """How many times as fast as in float32 a matrix product is in bfloat16, the best of a few."""

    def seconds(kind: torch.dtype) -> float:
        matrix = torch.ones(_SIDE, _SIDE, dtype=kind, device=place)
        found = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            (matrix @ matrix)[0, 0].item()  # waits for a GPU
            found.append(time.perf_counter() - began)
        return min(found)

    return seconds(torch.float32) / seconds(torch.bfloat16)


@cache
def _pays() -> bool:
    return bfloat16_speed(torch.device("cpu")) >= PAYS


def versions() -> dict[str, str]:
    """The version of fmalloc, installed or not, and of each library that decides results.

    Raises:
        FmallocError: a library can be imported, but pip knows nothing of it.
    """
    return {"fmalloc": __version__} | {name: installed_version(name) for name in _LIBRARIES}


def installed_version(name: str) -> str:
    """The version of a library; errors as of `versions`."""
    try:
        return version(name)
    except PackageNotFoundError as error:
        raise FmallocError(
            f"{name}: its version is not known, which results are kept with; install it by pip"
        ) from error


def environment_of(device: Device) -> dict[str, str]:
    """Versions, Python's included, and the device with the precision of matrix products on it."""
    return versions() | {
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device.torch) if device.torch.type == "cuda" else device.torch.type,
        "precision": "bfloat16" if device.bfloat16 else "float32",
    }
