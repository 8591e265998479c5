import gzip
import os
import random
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fmalloc.corpus import Corpus, CorpusSettings, Pair, digest, read_corpus, read_pairs
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

DE_EN = LanguagePair("de", "en")
DRAWN = {"train": (358, "e5025c59d57e"), "dev": (17, "2c1a0b923161"), "test": (25, "b1f84af52af2")}


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def sentences(count: int, word: str = "Satz") -> str:
    return "".join(f"{word} {i}\tsentence {i}\n" for i in range(count))


def parts_of(corpus: Corpus) -> dict[str, tuple[Pair, ...]]:
    return {"train": corpus.train, "dev": corpus.dev, "test": corpus.test}


def test_tsv_with_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", b"\xef\xbb\xbfja\tyes\r\n nein \tno\r\n")
    assert read_pairs(path, DE_EN) == (Pair("ja", "yes"), Pair("nein", "no"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ja yes\n", r"a.tsv:1: one-sided line without a tab, expected source<TAB>target: 'ja yes'"),
        ("a\tb\tc\n", r"a.tsv:1: 3 columns, expected source<TAB>target: 'a \| b \| c'"),
        ("", r"a.tsv: empty, expected one pair per line"),
        (b"ja\tyes\nB\xe4r\tbear\n", r"a.tsv:2: not UTF-8 \(byte 0xe4 at position 1\)"),
    ],
)
def test_what_is_in_no_format_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(FmallocError, match=message):
        read_pairs(write(tmp_path / "a.tsv", content), DE_EN)


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="a.tsv:5.*\nand 7 more"):
        read_pairs(write(tmp_path / "a.tsv", "x\n" * 12), DE_EN)


def test_empty_sides_are_dropped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.tsv", "ja\tyes\nnein\t\n\n \tno\n\t\t\nvielleicht\tmaybe\n")
    assert read_pairs(path, DE_EN) == (Pair("ja", "yes"), Pair("vielleicht", "maybe"))
    assert f"a.tsv: dropped 4 empty side (first: {path}:2)" in capsys.readouterr().err


def test_moses_pairs_must_correspond(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.de", "ja\nnein\nnie\n"), write(tmp_path / "a.en", "yes\n")
    with pytest.raises(FmallocError, match=r"a.de has 3 lines, .*a.en has 1"):
        read_pairs(tmp_path / "a", DE_EN)
    write(source, "ja\n")
    write(target, "yes\nno\n")
    with pytest.raises(FmallocError, match=r"a.de has 1 lines, .*a.en has 2"):
        read_pairs(tmp_path / "a", DE_EN)


@pytest.mark.parametrize("named", ["a", "a.de", "a.en"])
def test_a_moses_pair_has_three_names(tmp_path: Path, named: str) -> None:
    write(tmp_path / "a.de", "ja\n\nnein\n")
    write(tmp_path / "a.en", "yes\n\nno\n")
    assert read_pairs(tmp_path / named, DE_EN) == (Pair("ja", "yes"), Pair("nein", "no"))


@pytest.mark.parametrize("languages", [LanguagePair("deu_Latn", "eng_Latn"), LanguagePair("de_DE", "en_XX")])
def test_moses_files_may_end_in_short_codes(tmp_path: Path, languages: LanguagePair) -> None:
    write(tmp_path / "a.de", "ja\n")
    write(tmp_path / "a.en.gz", gzip.compress(b"yes\n"))
    assert read_pairs(tmp_path / "a", languages) == read_pairs(tmp_path / "a.en.gz", languages) == (Pair("ja", "yes"),)
    write(tmp_path / f"a.{languages.target}", "no\n")
    assert read_pairs(tmp_path / "a", languages) == (Pair("ja", "no"),)


@pytest.mark.parametrize("ending", ["tsv", "tmx", "de"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_gives_the_same_corpus_packed_or_not(tmp_path: Path, ending: str, packed: bool) -> None:
    def keep(name: str, text: str) -> None:
        content = gzip.compress(text.encode()) if packed else text.encode()
        write(tmp_path / (f"{name}.gz" if packed else name), content)

    given = {part: [(f"{part} ja {i}", f"{part} yes {i}") for i in range(3)] for part in ("train", "dev", "test")}
    for part, pairs in given.items():
        if ending == "tsv":
            keep(f"{part}.tsv", "".join(f"{s}\t{t}\n" for s, t in pairs))
        elif ending == "de":
            for side, language in enumerate(DE_EN):
                keep(f"{part}.{language}", "".join(f"{pair[side]}\n" for pair in pairs))
        else:
            unit = '<tu><tuv xml:lang="de"><seg>{}</seg></tuv><tuv xml:lang="en"><seg>{}</seg></tuv></tu>'
            keep(f"{part}.tmx", f"<tmx><body>{''.join(unit.format(*pair) for pair in pairs)}</body></tmx>")
    assert {part: list(pairs) for part, pairs in parts_of(read_corpus(tmp_path, DE_EN)).items()} == given


@pytest.mark.parametrize("path", ["/", ".", "..", "/..", "./."])
def test_a_folder_that_is_no_corpus_is_named(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with pytest.raises(FmallocError, match=re.escape(str(Path(path)))):
        read_pairs(Path(path), DE_EN)


def test_gzip_is_told_by_content(tmp_path: Path) -> None:
    packed = gzip.compress(b"ja\tyes\n") + gzip.compress(b"nein\tno\n")
    assert len(read_pairs(write(tmp_path / "a.tsv", packed), DE_EN)) == 2
    assert len(read_pairs(write(tmp_path / "b.tsv.gz", "ja\tyes\n"), DE_EN)) == 1


@pytest.mark.parametrize("damage", ["truncated", "flipped", "followed", "filled up"])
def test_damaged_gzip_is_named(tmp_path: Path, damage: str) -> None:
    packed = bytearray(gzip.compress(sentences(200).encode()))
    if damage == "truncated":
        packed = packed[:-20]
    elif damage == "flipped":
        packed[len(packed) // 2] ^= 0xFF
    elif damage == "followed":
        packed += b"rubbish"
    else:
        packed += bytes(2**17)
    with pytest.raises(FmallocError, match=r"a.tsv.gz: damaged gzip data"):
        read_pairs(write(tmp_path / "a.tsv.gz", bytes(packed)), DE_EN)


def test_odd_lines(tmp_path: Path) -> None:
    long = "x" * 10_000_000
    odd = f"a\x00b\tNUL\n{long}\ty\na\u2028b\tline separator\n{sentences(300)}no\tline end"
    path = write(tmp_path / "a.tsv", odd)
    corpus = read_corpus(path, DE_EN)
    found = {pair for pairs in parts_of(corpus).values() for pair in pairs}
    assert Pair("a\u2028b", "line separator") in found
    assert Pair("no", "line end") in found
    assert len(found) == 302
    assert {reason: dropped.pairs for reason, dropped in corpus.report.dropped.items()} == {
        "control characters": 1,
        "over 5000 characters": 1,
    }
    assert len(read_pairs(path, DE_EN)) == 304


def test_a_file_without_line_ends_is_not_read_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "ja\tyes\n")
    os.truncate(path, 1 << 30)
    with pytest.raises(FmallocError, match=r"a.tsv:2: a line of 64 MiB or more"):
        read_pairs(path, DE_EN)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match=r"nothing: no parallel text; expected a .tsv or .tmx file"):
        read_corpus(tmp_path / "nothing", DE_EN)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FmallocError, match=r"pipe: expected a file or a folder"):
        read_corpus(tmp_path / "pipe", DE_EN)
    write(tmp_path / "train.de", "ja\n")
    with pytest.raises(FmallocError, match=r"train.en: no such file"):
        read_corpus(tmp_path, DE_EN)
    (tmp_path / "train.en").mkdir()
    with pytest.raises(FmallocError, match=r"train.en: expected a file"):
        read_corpus(tmp_path, DE_EN)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As somebody else, if this is root, who may read everything."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = write(Path(folder) / "a.tsv", "ja\tyes\n")
        path.chmod(0)
        with unprivileged(), pytest.raises(FmallocError, match=r"a.tsv: Permission denied"):
            read_pairs(path, DE_EN)


def test_text_in_two_formats_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", "ja\tyes\n")
    write(tmp_path / "train.de.gz", gzip.compress(b"ja\n"))
    with pytest.raises(FmallocError, match=r"train.tsv and .*train.de.gz both exist"):
        read_corpus(tmp_path, DE_EN)


def test_dev_and_test_are_drawn_by_hash_stable_under_reordering(tmp_path: Path) -> None:
    lines = sentences(2000).splitlines(keepends=True)
    first = read_corpus(write(tmp_path / "a.tsv", "".join(lines)), DE_EN)
    random.Random(1).shuffle(lines)
    second = read_corpus(write(tmp_path / "b.tsv", "".join(lines)), DE_EN)
    assert 50 < len(first.dev) < 150
    assert 50 < len(first.test) < 150
    assert set(first.dev) == set(second.dev)
    assert set(first.test) == set(second.test)
    assert sum(map(len, parts_of(first).values())) == len(set().union(*parts_of(first).values())) == 2000


def test_the_same_pairs_are_drawn_as_ever(tmp_path: Path) -> None:
    """Stores compare these digests with those of what they learned from."""
    corpus = read_corpus(write(tmp_path / "a.tsv", sentences(400)), DE_EN)
    assert {part: (len(pairs), digest(pairs)[:12]) for part, pairs in parts_of(corpus).items()} == DRAWN


def test_duplicates_are_not_drawn(tmp_path: Path) -> None:
    corpus = read_corpus(write(tmp_path / "a.tsv", sentences(400) * 3), DE_EN)
    assert {part: (len(pairs), digest(pairs)[:12]) for part, pairs in parts_of(corpus).items()} == DRAWN
    assert corpus.report.dropped["duplicate"].pairs == 800


def test_too_few_to_draw_from(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", sentences(4) + "x\t\n")
    with pytest.raises(
        FmallocError, match=r"no dev pair is left of 5 pairs read; dropped: 1 empty side \(first: .*:5\)"
    ):
        read_corpus(path, DE_EN)


def test_only_train_is_cleaned(tmp_path: Path) -> None:
    odd = "ja\tyes\nja\tyes\nnein\t\na\x01\tb\nkurz\t" + "long " * 40 + "\n"
    for part in ("train", "dev", "test"):
        write(tmp_path / f"{part}.tsv", odd + f"nur {part}\tonly {part}\n")
    corpus = read_corpus(tmp_path, DE_EN)
    assert list(corpus.train) == [Pair("nur train", "only train")]
    assert [len(corpus.dev), len(corpus.test), corpus.report.read] == [5, 5, 18]
    assert {reason: dropped.pairs for reason, dropped in corpus.report.dropped.items()} == {
        "duplicate": 1,
        "empty side": 3,
        "control characters": 1,
        "length ratio over 9": 1,
        "in dev or test": 1,
    }
    everything = CorpusSettings(
        maximum_ratio=None,
        drop_control_characters=False,
        remove_invisible=False,
        drop_duplicates=False,
        drop_overlap=False,
    )
    assert len(read_corpus(tmp_path, DE_EN, everything).train) == 5
    assert read_pairs(tmp_path, DE_EN) == tuple(read_corpus(tmp_path, DE_EN, everything).train)
