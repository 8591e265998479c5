"""Resources that this process may use: CPUs, memory, open files, CUDA devices."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def cpus() -> float:
    """CPUs by affinity or cgroup quota, whichever is less; a quota may be a fraction."""
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for folder in _cgroups():
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            allowed = min(allowed, int(quota) / int(period))
    return allowed


def memory() -> int | None:
    """Bytes of memory: the cgroup's limit or the installed memory, whichever is less; None if unknown."""
    found = [int(text) for folder in _cgroups() if (text := _read(folder / "memory.max")).isdigit()]
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found) if found else None


def open_files() -> tuple[int, int]:
    """Limits on open files and connections: now, and after `raise_open_files`; -1 if unlimited."""
    if resource is None:
        return -1, -1
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_open_files() -> None:
    """Raise the limit on open files to the hard limit: many systems set a low soft limit."""
    soft, hard = open_files()
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS reports a higher limit than it grants
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def take_short_turns() -> None:
    """Have threads pass on the interpreter every millisecond: an event loop beside them never waits for long."""
    sys.setswitchinterval(0.001)


def return_freed_memory() -> None:
    """Give memory that was freed back to the system, where the C library can be told to (glibc).

    By itself it keeps what lies between blocks in use: a good part of what loading one model after another frees.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def cuda_devices() -> int:
    """Number of CUDA devices that CTranslate2 finds; 0 if it cannot be imported."""
    try:
        import ctranslate2
    except ImportError:
        return 0
    return int(ctranslate2.get_cuda_device_count())


def _cgroups() -> list[Path]:
    """Folders of this process' cgroups (version 2), innermost first; the limits of all of them apply."""
    own = _read(_MEMBERSHIP).partition("::")[2].splitlines()
    path = Path(own[0]).relative_to("/") if own else Path()
    return [_CGROUPS / path, *(_CGROUPS / parent for parent in path.parents)]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
