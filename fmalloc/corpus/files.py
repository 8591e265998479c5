"""Files of text, plain or gzip: their bytes, and their lines."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fmalloc_shared.errors import FmallocError

_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER = 1 << 20
_LONGEST_LINE = 1 << 26


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
            yield io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER) if packed else file
    except FileNotFoundError as error:
        raise FmallocError(f"{path}: no such file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FmallocError(f"{path}: damaged gzip data ({error}); copy or pack the file again") from error
    except OSError as error:
        raise FmallocError(f"{path}: {error.strerror or error}") from error


def lines(path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 file, without their ends. Only `\n` ends a line; a byte order mark is left out.

    Raises:
        FmallocError: as `opened`; not UTF-8; a line of 64 MiB or more, which cannot be a sentence.
    """
    with opened(path) as file:
        for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE), b""), start=1):
            if len(line) == _LONGEST_LINE:
                raise FmallocError(f"{path}:{number}: a line of 64 MiB or more; expected one sentence per line")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise FmallocError(f"{path}:{number}: {_undecodable(line, error.start)}") from error


def _undecodable(line: bytes, at: int) -> str:
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16, not UTF-8; convert the file to UTF-8 (iconv -f UTF-16 -t UTF-8)"
    return f"not UTF-8 (byte 0x{line[at]:02x} at position {at}); convert the file to UTF-8"
