"""Files of text, plain or gzip: their bytes, and their lines."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from fmalloc_shared.errors import FmallocError

_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER = 1 << 20
_LONGEST_LINE = 1 << 26
_ZEROS = 1 << 16


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where they are gzip's, whatever its name says.

    Raises:
        FmallocError: it cannot be read, also while the context lasts, or its gzip data are damaged.
    """
    if path.exists() and not path.is_file():
        raise FmallocError(f"{path}: expected a file (a resumed run could not read a pipe again)")
    try:
        with path.open("rb") as file:
            packed = file.peek(2)[:2] == _GZIP_MAGIC
            if packed:
                _check_end(path, file)
            yield io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER) if packed else file
    except FileNotFoundError as error:
        raise FmallocError(f"{path}: no such file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FmallocError(f"{path}: damaged gzip data ({error}); copy or pack the file again") from error
    except OSError as error:
        raise FmallocError(f"{path}: {error.strerror or error}") from error


def _check_end(path: Path, file: BinaryIO) -> None:
    """Refuse gzip data that end in many zeros, which the standard library reads away one by one.

    Copies have such ends that were given their size and not all of their bytes.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _ZEROS))
    end = file.read()
    file.seek(0)
    if size > _ZEROS and not end.strip(b"\0"):
        raise FmallocError(f"{path}: damaged gzip data (the file ends in zeros); copy or pack the file again")


def lines(path: Path) -> Iterator[str]:
    r"""The lines of a file in UTF-8, or in UTF-16 with a byte order mark, without their ends; only `\n` ends a line.

    A byte order mark is left out.

    Raises:
        FmallocError: as `opened`; not in that encoding; a line of 64 MiB or more, which cannot be a sentence.
    """
    with opened(path) as file:
        numbered = enumerate(iter(partial(file.readline, _LONGEST_LINE), b""), start=1)
        first = next(numbered, (1, b""))[1]
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            file.seek(0)
            yield from _wide_lines(path, file)
            return
        for number, line in chain([(1, first)] if first else [], numbered):
            _check_length(path, number, line)
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise FmallocError(
                    f"{path}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start}); convert "
                    "the file to UTF-8"
                ) from error


def _wide_lines(path: Path, file: BinaryIO) -> Iterator[str]:
    """Lines of UTF-16, as spreadsheets export "Unicode text"."""
    text = io.TextIOWrapper(file, "utf-16", newline="\n")
    number = 0
    try:
        for number, line in enumerate(iter(partial(text.readline, _LONGEST_LINE), ""), start=1):
            _check_length(path, number, line)
            yield line.rstrip("\r\n")
    except UnicodeError as error:
        raise FmallocError(f"{path}:{number + 1}: damaged UTF-16 ({error}); convert the file to UTF-8") from error
    finally:
        text.detach()


def _check_length(path: Path, number: int, line: str | bytes) -> None:
    if len(line) == _LONGEST_LINE:
        raise FmallocError(f"{path}:{number}: a line of 64 MiB or more; expected one sentence per line")
