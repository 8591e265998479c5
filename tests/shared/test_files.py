import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_plain, read_small, sha256, verify_files, write_atomically


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


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize("read", [read_small, sha256, check_plain])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is a FIFO, expected a plain file"),
        (os.mkdir, "cannot be read: Is a directory"),
        (bind, "cannot be read"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, expected a plain file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels"),
        (lambda path: path.with_name("b").touch(), "cannot be read: No such file"),
    ],
)
def test_what_is_no_plain_file_is_refused_at_once(
    read: Callable[[Path], object], make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "a")
    with pytest.raises(FmallocError, match=f"a: {message}"):
        read(tmp_path / "a")


def test_a_link_to_a_plain_file_is_read_and_a_large_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    assert read_small(tmp_path / "link", 5) == b"12345"
    with pytest.raises(FmallocError, match="link: is larger than 4 bytes"):
        read_small(tmp_path / "link", 4)
