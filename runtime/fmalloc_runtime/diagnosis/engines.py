"""Checks of the engines and the GPU."""

import ctypes
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from fmalloc_runtime.engines.base import version_tuple
from fmalloc_runtime.engines.ctranslate2 import ctranslate2_version
from fmalloc_runtime.engines.onnx import onnxruntime_version
from fmalloc_shared.commands.findings import Check, Finding
from fmalloc_shared.errors import FmallocError

CTRANSLATE2 = "4.8.2"
ONNXRUNTIME = "1.24"
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_CUBLAS = "libcublas.so.12"


def checks() -> list[Check]:
    """All checks of this part."""
    return [ctranslate2, onnxruntime, cuda]


def ctranslate2() -> Iterator[Finding]:
    """The default engine: installed, recent enough, and its compute types on this CPU."""
    try:
        found = ctranslate2_version()
    except FmallocError as error:
        yield Finding("CTranslate2", "fail", str(error), f"pip install 'ctranslate2>={CTRANSLATE2}'")
        return
    if version_tuple(found) < version_tuple(CTRANSLATE2):
        yield Finding("CTranslate2", "fail", found, f"pip install 'ctranslate2>={CTRANSLATE2}'")
        return
    yield Finding("CTranslate2", "ok", f"{found}; on this CPU {', '.join(compute_types('cpu'))}")


def onnxruntime() -> Iterator[Finding]:
    """The other engine: at most one of its packages, and its execution providers."""
    there = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(there) == 2:
        advice = "pip uninstall onnxruntime onnxruntime-gpu, then install the one you want: both are one module"
        yield Finding("ONNX Runtime", "fail", "onnxruntime and onnxruntime-gpu are both installed", advice)
        return
    if not there:
        yield Finding("ONNX Runtime", "ok", "not installed; only bundles for ONNX Runtime need it")
        return
    try:
        found = onnxruntime_version()
    except FmallocError as error:
        yield Finding("ONNX Runtime", "fail", str(error), f"pip install '{there[0]}>={ONNXRUNTIME}'")
        return
    if version_tuple(found) < version_tuple(ONNXRUNTIME):
        yield Finding("ONNX Runtime", "fail", found, f"pip install '{there[0]}>={ONNXRUNTIME}'")
        return
    import onnxruntime

    yield Finding("ONNX Runtime", "ok", f"{found} with {', '.join(onnxruntime.get_available_providers())}")


def cuda() -> Iterator[Finding]:
    """Devices, and cuBLAS, which CTranslate2 loads only when it first needs it."""
    devices, problem = _cuda_devices()
    if not devices:
        if problem or _NVIDIA_DRIVER.exists():
            found = problem or "an NVIDIA driver, but CTranslate2 finds no device"
            advice = "see what nvidia-smi says, and whether CUDA_VISIBLE_DEVICES hides it; --device cpu works meanwhile"
            yield Finding("CUDA", "warn", found, advice)
        else:
            yield Finding("CUDA", "ok", "no device; models run on the CPU")
        return
    yield Finding("CUDA", "ok", f"{devices} devices; {', '.join(compute_types('cuda'))}")
    try:
        ctypes.CDLL(_CUBLAS)
    except OSError as error:
        yield Finding("cuBLAS", "fail", str(error), _cublas_advice())
    else:
        yield Finding("cuBLAS", "ok", f"{_CUBLAS} can be loaded")


def compute_types(device: str) -> list[str]:
    """CTranslate2's compute types on a device; empty if unknown."""
    if device == "cuda" and not _cuda_devices()[0]:
        return []  # asked a second time, CTranslate2 names float32 for a missing GPU
    try:
        import ctranslate2

        return sorted(ctranslate2.get_supported_compute_types(device))
    except (ImportError, RuntimeError, ValueError):
        return []


def _cuda_devices() -> tuple[int, str]:
    try:
        import ctranslate2

        return int(ctranslate2.get_cuda_device_count()), ""
    except ImportError:
        return 0, ""
    except RuntimeError as error:
        return 0, str(error)


def _cublas_advice() -> str:
    package = find_spec("nvidia.cublas") if find_spec("nvidia") else None
    for place in (package.submodule_search_locations or ()) if package else ():
        folder = Path(place) / "lib"
        if (folder / _CUBLAS).exists():
            return f"it is installed but not found: export LD_LIBRARY_PATH={folder}"
    return "pip install nvidia-cublas-cu12, or install CUDA 12; --device cpu works meanwhile"


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
