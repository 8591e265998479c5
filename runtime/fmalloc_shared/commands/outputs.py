"""What a command is going to write: checked before anything long starts, so that nothing fails at its end."""

import os
import shutil
import tempfile
from pathlib import Path

from fmalloc_shared.errors import FmallocError


def check_folder(path: Path, room: int = 0) -> None:
    """See that a folder is there or can be made, that files can be made in it, and that `room` bytes are free.

    Nothing is left behind. Raises FmallocError, with what to do.
    """
    above = path
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent
    if not above.is_dir():
        what = "is no folder" if above == path else f"cannot be made, {above} is no folder"
        raise FmallocError(f"{path}: {what}; choose another place")
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise FmallocError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
    if (free := shutil.disk_usage(above).free) < room:
        raise FmallocError(
            f"{path}: needs about {readable(room)}, {readable(free)} are free; make room or choose another place"
        )


def check_file(path: Path) -> None:
    """See that a file can be written: its folder is there, and it is no folder itself. Errors as of check_folder."""
    if os.path.lexists(path) and not path.is_file():
        raise FmallocError(f"{path}: is no file; choose another name")
    if not path.parent.is_dir():
        raise FmallocError(f"{path}: no folder {path.parent}")
    check_folder(path.parent)


def readable(size: float) -> str:
    """A number of bytes in MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
