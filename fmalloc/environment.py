"""What results depend on beside settings and data: installed versions, the device and its precision."""

import platform
from importlib.metadata import version

import torch

from fmalloc.devices import Device

_LIBRARIES = ("fmalloc", "torch", "transformers", "sacrebleu")


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
