import random
from pathlib import Path

import pytest

from fmalloc.corpus import Languages, Pair, read_corpus, read_moses, read_tsv
from fmalloc_shared.errors import FmallocError

DE_EN = Languages("de", "en")


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_tsv_with_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", b"\xef\xbb\xbfja\tyes\r\n nein \tno\r\n")
    assert read_tsv(path) == (Pair("ja", "yes"), Pair("nein", "no"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ja\tyes\n\nnein\tno\n", r"a.tsv:2: empty line"),
        ("ja\tyes\nnein\t\n", r"a.tsv:2: one-sided line.*nein"),
        ("ja yes\n", r"a.tsv:1: one-sided line.*'ja yes'"),
        ("a\tb\tc\n", r"a.tsv:1: 3 columns"),
        ("", r"a.tsv: empty, expected one pair a line"),
        (b"ja\tyes\nB\xe4r\tbear\n", r"a.tsv:2: not UTF-8 \(byte 0xe4 at position 1\)"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(FmallocError, match=message):
        read_tsv(write(tmp_path / "a.tsv", content))


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="and 7 more"):
        read_tsv(write(tmp_path / "a.tsv", "x\n" * 12))


def test_moses_pairs_must_correspond(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.de", "ja\nnein\n"), write(tmp_path / "a.en", "yes\n")
    with pytest.raises(FmallocError, match=r"a.de has 2 lines, .*a.en has 1"):
        read_moses(source, target)
    write(target, "yes\nno\n")
    assert read_moses(source, target)[1] == Pair("nein", "no")


def test_a_folder_of_moses_pairs_and_one_of_tsv(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        write(tmp_path / f"{part}.de", f"{part} ja\n")
        write(tmp_path / f"{part}.en", f"{part} yes\n")
    corpus = read_corpus(tmp_path, DE_EN)
    assert (corpus.train[0].source, corpus.dev[0].target, len(corpus.test)) == ("train ja", "dev yes", 1)


def test_dev_and_test_are_drawn_by_hash_stable_under_reordering(tmp_path: Path) -> None:
    lines = [f"Satz {i}\tsentence {i}\n" for i in range(2000)]
    first = read_corpus(write(tmp_path / "a.tsv", "".join(lines)), DE_EN)
    random.Random(1).shuffle(lines)
    second = read_corpus(write(tmp_path / "b.tsv", "".join(lines)), DE_EN)
    assert 50 < len(first.dev) < 150
    assert 50 < len(first.test) < 150
    assert set(first.dev) == set(second.dev)
    assert set(first.test) == set(second.test)
    parts = (first.train, first.dev, first.test)
    assert sum(map(len, parts)) == len(set().union(*map(set, parts))) == 2000


def test_nothing_there_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match=r"nothing: no parallel text; expected a .tsv file"):
        read_corpus(tmp_path / "nothing", DE_EN)
    write(tmp_path / "train.de", "ja\n")
    with pytest.raises(FmallocError, match=r"train.en: no such file"):
        read_corpus(tmp_path, DE_EN)
