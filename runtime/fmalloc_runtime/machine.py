"""What this process may use of the machine: CPUs, memory, open files, CUDA devices."""

import os
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def cpus() -> float:
    """CPUs by affinity and cgroup quotas, whichever is less; a quota may be a fraction."""
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for folder in _cgroups():
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            allowed = min(allowed, int(quota) / int(period))
    return allowed


def memory() -> int | None:
    """Bytes that the process may use: a cgroup's limit or what is installed, whichever is less; None if unknown."""
    found = [int(text) for folder in _cgroups() if (text := _read(folder / "memory.max")).isdigit()]
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found) if found else None


def open_files() -> tuple[int, int]:
    """How many files and connections may be open: now, and at most after `raise_open_files`; -1 for any number."""
    if resource is None:
        return -1, -1
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_open_files() -> None:
    """Take all the open files that the system grants: many set a low limit for programs that never ask."""
    soft, hard = open_files()
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS promises more than it gives
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cuda_devices() -> int:
    """CUDA devices that CTranslate2 finds; 0 where it cannot be imported."""
    try:
        import ctranslate2
    except ImportError:
        return 0
    return int(ctranslate2.get_cuda_device_count())


def _cgroups() -> list[Path]:
    """Folders of this process' cgroups (version 2), its own first; each one's limits hold."""
    own = _read(_MEMBERSHIP).partition("::")[2].splitlines()
    path = Path(own[0]).relative_to("/") if own else Path()
    return [_CGROUPS / path, *(_CGROUPS / parent for parent in path.parents)]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
