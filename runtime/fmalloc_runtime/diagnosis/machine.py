"""Checks of Python, the CPU and the limits of the process."""

import os
import platform
import sys
from collections.abc import Iterator

from fmalloc_runtime import machine
from fmalloc_runtime.settings import Loaded, Settings
from fmalloc_shared import processor
from fmalloc_shared.commands.findings import Check, Finding
from fmalloc_shared.commands.outputs import readable
from fmalloc_shared.errors import FmallocError

_PYTHON = (3, 11)
_FAST = ("avx512f", "avx2", "asimd")
# Files besides connections: models, libraries, logs.
_OTHER_FILES = 128


def checks() -> list[Check]:
    """All checks of this part."""
    return [python, settings, cpu, cpus, open_files]


def python() -> Iterator[Finding]:
    """The interpreter's version."""
    found = platform.python_version()
    wanted = ".".join(map(str, _PYTHON))
    if sys.version_info < _PYTHON:
        yield Finding("Python", "fail", found, f"install Python {wanted} or newer")
    else:
        yield Finding("Python", "ok", f"{found} on {platform.platform()}")


def settings() -> Iterator[Finding]:
    """Environment variables, and the file that FMALLOC_CONFIG names."""
    try:
        origins = Loaded.of().origins
    except FmallocError as error:
        yield Finding("settings", "fail", str(error), "correct or remove them; fmalloc serve --help explains each one")
    else:
        yield Finding("settings", "ok", ", ".join(sorted(origins)) or "all defaults")


def cpu() -> Iterator[Finding]:
    """Instruction sets that make int8 models fast and exact, and a switch that makes them slow."""
    vendor, flags = processor.features()
    if not flags:
        yield Finding("CPU", "ok", f"{platform.machine()}, its features are unknown")
        return
    fast = [name for name in _FAST if name in flags]
    if fast:
        yield Finding("CPU", "ok", f"{vendor or platform.machine()} with {', '.join(fast)}")
    else:
        advice = f"expect int8 models to be several times slower than on a CPU with one of {', '.join(_FAST)}"
        yield Finding("CPU", "warn", f"{vendor or platform.machine()} without {', '.join(_FAST)}", advice)
    if not processor.adds_integers_exactly():
        advice = "int8 models translate slightly worse here; --compute-type float32 serves them exactly, but slower"
        yield Finding("int8", "warn", "sums of int8 products saturate: the CPU has no VNNI", advice)
    if vendor == "AuthenticAMD" and os.environ.get("CT2_USE_MKL") == "1":
        yield Finding("MKL", "warn", "CT2_USE_MKL=1 on an AMD CPU", "unset it: int8 is 7 to 16 times slower with it")


def cpus() -> Iterator[Finding]:
    """CPUs that the process may use, and threads that would compete for them."""
    allowed, there = machine.cpus(), os.cpu_count() or 1
    found = f"{allowed:g} of {there} CPUs may be used"
    if allowed < 1:
        advice = "grant at least one whole CPU: below that, every batch waits for the quota"
        yield Finding("CPUs", "warn", found, advice)
    else:
        yield Finding("CPUs", "ok", found)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > allowed:
        yield Finding("threads", "warn", f"OMP_NUM_THREADS={threads}, CPUs: {allowed:g}", "unset it or lower it")


def open_files() -> Iterator[Finding]:
    """Whether the limit on open files allows the server's connections."""
    wanted = Settings.model_fields["connections"].default
    soft, hard = machine.open_files()
    found = f"{soft} now, {hard} if asked for" if hard >= 0 else f"{soft} now, any number if asked for"
    if 0 <= hard < wanted + _OTHER_FILES:
        advice = f"raise the hard limit (ulimit -Hn) to {wanted + _OTHER_FILES}, or set --connections lower than {hard}"
        yield Finding("open files", "warn", found, advice)
    else:
        yield Finding("open files", "ok", found)


def memory(needed: int) -> Iterator[Finding]:
    """Memory against the `needed` bytes of the models."""
    limit = machine.memory()
    if limit is None:
        yield Finding("memory", "ok", f"models need {readable(needed)}; the available memory is unknown")
    elif needed > limit:
        advice = f"set --memory below {readable(limit)}: models are then loaded on demand; or grant more"
        yield Finding("memory", "warn", f"models need {readable(needed)}, there is {readable(limit)}", advice)
    else:
        yield Finding("memory", "ok", f"models need {readable(needed)}, there is {readable(limit)}")
