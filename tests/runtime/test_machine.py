"""Resources of this process."""

import ctypes

import pytest

from fmalloc_export.bench.runner import resident_bytes
from fmalloc_runtime.machine import return_freed_memory


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc can return what lies in between")
def test_memory_that_was_freed_between_blocks_in_use_is_returned() -> None:
    blocks = [bytearray(b"x" * 4000) for _ in range(25_000)]
    kept = blocks[::1000]
    del blocks
    before = resident_bytes()
    return_freed_memory()
    after = resident_bytes()
    assert before is not None
    assert after is not None
    assert before - after > 50e6
    assert len(kept) == 25
