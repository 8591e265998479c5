import errno
import os
from pathlib import Path

import pytest

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256, verify_files, write_atomically


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


def test_every_problem_of_a_folder_is_named(tmp_path: Path) -> None:
    for name in ("same", "changed", "extra"):
        (tmp_path / name).write_text(name)
    expected = {"same": sha256(tmp_path / "same"), "changed": "0" * 64, "gone": "0" * 64}
    with pytest.raises(FmallocError) as caught:
        verify_files(tmp_path, expected)
    message = str(caught.value)
    assert "changed: sha256 is" in message
    assert "gone: missing" in message
    assert "extra: not listed" in message
    assert "same" not in message
