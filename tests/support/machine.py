"""What the machine that runs the tests can do."""

import platform
from pathlib import Path

_CPU = Path("/proc/cpuinfo")
_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}


def adds_integers_exactly() -> bool:
    """Whether products of int8 are summed without saturation.

    On x86 without VNNI, engines add pairs of products in 16 bits, which overflow for large weights: int8 and, in
    CTranslate2 without a kernel for it, int16 then compute something coarser than elsewhere.
    """
    if platform.machine().lower() not in ("x86_64", "amd64") or not _CPU.is_file():
        return True
    return bool(_DOT_PRODUCTS & set(_CPU.read_text(encoding="utf-8").split()))
