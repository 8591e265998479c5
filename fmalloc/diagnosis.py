"""What `fmalloc doctor` says about learning: libraries, device and precision, room, extras, the installation."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from fmalloc_shared import __version__
from fmalloc_shared.commands.findings import Check, Finding
from fmalloc_shared.commands.outputs import readable

# The least version of each library, by its name on PyPI; pyproject.toml says the same.
LIBRARIES = {"torch": "2.11", "transformers": "5.17", "sacrebleu": "2.4"}
# The extra that installs each optional package, and what for.
EXTRAS = {
    "onnx": ("export", "to compile for ONNX Runtime"),
    "onnxruntime": ("onnx", "to compile for ONNX Runtime"),
    "threadpoolctl": ("export", "to compile"),
    "sacremoses": ("moses", "FSMT bases"),
    "peft": ("compare", "to compare with LoRA"),
    "tensorboard": ("tensorboard", "live curves"),
}
# PyTorch and transformers alone take 0.25 GB; a store holds a copy of its base, and checkpoints beside it.
_LEAST_MEMORY = 2 * 10**9
_LEAST_DISK = 2 * 10**9
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

_finding = partial(Finding, purpose="learn")


def checks(memory: Callable[[], int | None], cpus: Callable[[], float]) -> list[Check]:
    """All checks of learning; without PyTorch there is little to check.

    memory, cpus: tell how many bytes and CPUs the process may use, and fail the check that asks, if they do.
    """
    if find_spec("torch") is None:
        return [source, absent]
    return [source, libraries, partial(device, cpus), partial(enough_memory, memory), disk, extras]


def source() -> Iterator[Finding]:
    """Whether this is the fmalloc that is installed."""
    try:
        installed = version("fmalloc")
    except PackageNotFoundError:
        yield _finding("fmalloc", "ok", f"{__version__}, a source tree that is not installed")
        return
    if installed == __version__:
        yield _finding("fmalloc", "ok", __version__)
    else:
        advice = "install this one again: pip install ."
        yield _finding("fmalloc", "warn", f"{__version__}, but {installed} is installed", advice)


def absent() -> Iterator[Finding]:
    """No PyTorch: nothing is wrong where models are only served."""
    yield _finding("learning", "ok", "not installed; to learn and compile: pip install 'fmalloc[export]'")


def libraries() -> Iterator[Finding]:
    """Each library that learning needs: there, and recent enough."""
    for name, least in LIBRARIES.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield _finding(name, "fail", "not installed by pip", f"pip install '{name}>={least}'")
            continue
        if _numbers(found) < _numbers(least):
            yield _finding(name, "fail", found, f"pip install '{name}>={least}'")
        else:
            yield _finding(name, "ok", found)


def device(cpus: Callable[[], float]) -> Iterator[Finding]:
    """Where learning computes, and whether the precision that `auto` takes there is the faster one."""
    import torch

    from fmalloc.model.devices import PAYS, bfloat16_speed

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        ratio = bfloat16_speed(torch.device("cuda"))
        found = f"{names}; bfloat16 is {ratio:.1f} times as fast as float32"
        if ratio < 1:
            yield _finding("device", "warn", found, "set precision: float32 in the recipe")
        else:
            yield _finding("device", "ok", found)
        return
    if _NVIDIA_DRIVER.exists():
        advice = "install PyTorch for CUDA (pytorch.org), and see whether CUDA_VISIBLE_DEVICES hides the device"
        yield _finding("device", "warn", "an NVIDIA driver, but PyTorch finds no device: learning is slow", advice)
    ratio = bfloat16_speed(torch.device("cpu"))
    chosen = "bfloat16" if ratio >= PAYS else "float32"
    yield _finding("device", "ok", f"CPU; bfloat16 is {ratio:.1f} times as fast as float32: precision auto is {chosen}")
    if (threads := torch.get_num_threads()) > (allowed := cpus()):
        advice = f"set OMP_NUM_THREADS={max(1, int(allowed))}"
        yield _finding("threads to learn", "warn", f"{threads} threads, {allowed:g} CPUs", advice)


def enough_memory(memory: Callable[[], int | None]) -> Iterator[Finding]:
    """Memory for PyTorch and a small model."""
    if (found := memory()) is None or found >= _LEAST_MEMORY:
        yield _finding("memory to learn", "ok", readable(found) if found else "unknown")
    else:
        yield _finding("memory to learn", "warn", readable(found), f"grant {readable(_LEAST_MEMORY)} or more")


def disk() -> Iterator[Finding]:
    """Room for a store in the working directory."""
    free = shutil.disk_usage(Path()).free
    found = f"{readable(free)} free here"
    if free < _LEAST_DISK:
        advice = "make room, or give --store another place: a store holds a copy of its base"
        yield _finding("disk to learn", "warn", found, advice)
    else:
        yield _finding("disk to learn", "ok", found)


def extras() -> Iterator[Finding]:
    """Optional packages: which are there, and how to get the others."""
    there = [name for name in EXTRAS if find_spec(name)]
    missing = [
        f"{name} ({purpose}): pip install 'fmalloc[{extra}]'"
        for name, (extra, purpose) in EXTRAS.items()
        if name not in there
    ]
    yield _finding("extras", "ok", "; ".join([f"installed: {', '.join(there) or 'none'}", *missing]))


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, such as (2, 11, 0) of 2.11.0+cpu."""
    numbers: list[int] = []
    for part in text.partition("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
