"""The CPU: its vendor, its instruction sets, and what they mean for int8 models."""

import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_X86 = ("x86_64", "amd64")
_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}


def features() -> tuple[str, frozenset[str]]:
    """The vendor, and the names of instruction sets as Linux writes them; both empty where they are unknown."""
    try:
        lines = [line.partition(":") for line in _CPU_INFO.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "", frozenset()
    fields = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    return fields.get("vendor_id", ""), frozenset((fields.get("flags") or fields.get("Features") or "").split())


def adds_integers_exactly() -> bool:
    """Whether products of int8 are summed without saturation.

    On x86 without VNNI, engines add pairs of products in 16 bits, which overflow for large weights: int8 and, in
    CTranslate2 without a kernel for it, int16 then compute something coarser than elsewhere.
    """
    _, found = features()
    return platform.machine().lower() not in _X86 or not found or bool(_DOT_PRODUCTS & found)
