"""Sources without translations, one per line."""

import gzip
from pathlib import Path

import pytest

from fmalloc.corpus import read_sources
from fmalloc_shared.errors import FmallocError


def test_sentences_are_read_once_each_without_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "sources.txt"
    path.write_bytes(b"Ein Satz.\n\n  Noch  einer. \nEin Satz.\r\n")
    assert read_sources(path) == ("Ein Satz.", "Noch einer.")
    packed = tmp_path / "sources.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_sources(packed) == read_sources(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"Ein Satz.\nEin Satz.\tA sentence.\n",
            r"sources.txt:2: has a tab; expected sentences in the",
        ),
        (b"\n \n", r"sources.txt: no sentence in it"),
        (b"caf\xe9\n", r"sources.txt:1: not UTF-8"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "sources.txt").write_bytes(content)
    with pytest.raises(FmallocError, match=message):
        read_sources(tmp_path / "sources.txt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="sources.txt: no such file"):
        read_sources(tmp_path / "sources.txt")
