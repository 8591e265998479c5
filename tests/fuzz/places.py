"""Mutations of what lies at a path: nothing, a folder, links, FIFOs, sockets, devices, and what is foreign there."""

import os
import random
import shutil
import socket
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path


def mutate_place(path: Path, draw: random.Random, aside: Path) -> str:
    """Replace what is at `path`, or add something beside it, and say what; `aside` is a folder to link to."""
    name = draw.choice(list(_CHANGES))
    _CHANGES[name](path, aside)
    return name


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _moved(path: Path, aside: Path) -> None:
    """The thing itself outside, and a link to it."""
    target = aside / path.name
    path.rename(target)
    path.symlink_to(target)


def _folder(path: Path, _aside: Path) -> None:
    _gone(path)
    path.mkdir()


def _full_folder(path: Path, _aside: Path) -> None:
    _gone(path)
    path.mkdir()
    (path / path.name).write_bytes(b"{}")


def _linked(target: str) -> Callable[[Path, Path], None]:
    def change(path: Path, _aside: Path) -> None:
        _gone(path)
        path.symlink_to(path if target == "itself" else target)

    return change


def _fifo(path: Path, _aside: Path) -> None:
    _gone(path)
    os.mkfifo(path)


def _socket(path: Path, _aside: Path) -> None:
    _gone(path)
    with socket.socket(socket.AF_UNIX) as bound, chdir(path.parent):
        bound.bind(path.name)  # the whole path may be longer than an address can be


def _beside(name: str, make: Callable[[Path], object]) -> Callable[[Path, Path], None]:
    return lambda path, _aside: make(path.with_name(name)) and None


def _sparse(path: Path, _aside: Path) -> None:
    content = path.read_bytes()
    path.unlink()  # it may be a hard link
    with path.open("wb") as file:
        file.write(content)
        file.truncate(96 * 2**20)


def _linked_folder(path: Path, aside: Path) -> None:
    _moved(path.parent, aside)


_CHANGES: dict[str, Callable[[Path, Path], None]] = {
    "missing": lambda path, _aside: _gone(path),
    "a folder": _folder,
    "a folder with a file": _full_folder,
    "a link to where it was moved": _moved,
    "a link to itself": _linked("itself"),
    "a link to nowhere": _linked("/nowhere/at/all"),
    "a link to /dev/zero": _linked("/dev/zero"),
    "a link to /dev/null": _linked("/dev/null"),
    "a link to its folder": _linked("."),
    "a link to /proc/self/mem": _linked("/proc/self/mem"),
    "a FIFO": _fifo,
    "a socket": _socket,
    "96 MiB, sparse": _sparse,
    "its folder is a link": _linked_folder,
    "a foreign file beside it": _beside("foreign.bin", lambda path: path.write_bytes(b"x")),
    "a foreign folder beside it": _beside("foreign", lambda path: path.mkdir() or True),
    "a foreign FIFO beside it": _beside("pipe", lambda path: os.mkfifo(path) or True),
    "a link to / beside it": _beside("root", lambda path: path.symlink_to("/") or True),
    "a hidden file beside it": _beside(".hidden", lambda path: path.write_bytes(b"x")),
    "an odd name beside it": _beside("\x1b[31m\n.json", lambda path: path.write_bytes(b"x")),
}
