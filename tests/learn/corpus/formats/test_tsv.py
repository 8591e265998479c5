"""Tables as spreadsheets and tools export them, and what is no table of tabs at all."""

import csv
import gzip
import io
import sqlite3
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from fmalloc.corpus import read_corpus, read_pairs
from fmalloc.corpus.formats.tsv import tsv_rows
from fmalloc.corpus.report import Tally
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

DE_EN = LanguagePair("de", "en")
SPEECH = 'Er sagte "Ja".\tHe said "yes".\n'


def write(tmp_path: Path, text: str | bytes, name: str = "a.tsv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ('"Er sagte ""Ja""."\t"He said ""yes""."\n', [('Er sagte "Ja".', 'He said "yes".')]),
        ('ja\tyes\n"""Ja"", sagte er"\t"""Yes"", he said"', [("ja", "yes"), ('"Ja", sagte er', '"Yes", he said')]),
        ('"eins\nzwei"\t"one\r\ntwo"\nja\tyes\n', [("eins zwei", "one two"), ("ja", "yes")]),
        ('"a\tb\nc"\t"d\te"\n', [("a b c", "d e")]),
        ('"Haus, gelb"\t"house, yellow"\nja\tyes\n', [("Haus, gelb", "house, yellow"), ("ja", "yes")]),
        ('"ja"\t"yes"\n5\t5\n"nein"\t"no"\n', [("ja", "yes"), ("5", "5"), ("nein", "no")]),
    ],
)
def test_quotes_of_spreadsheets_are_not_text(tmp_path: Path, text: str, pairs: list[tuple[str, str]]) -> None:
    assert list(read_pairs(write(tmp_path, text), DE_EN)) == pairs


@pytest.mark.parametrize(
    "text",
    [
        '"Ja."\t"Yes."\nAber, ach!\tBut, oh!\n',
        '"Ich gehe jetzt.\t"I go now.\nBis dann."\tSee you."\n',
        '"Nein", sagte er.\t"No," he said.\n',
        '"Ja\tYes\n',
        f'"Ja, gut."\t"Yes, well."\n{SPEECH}',
        '5" lang\t5" long\n',
    ],
)
def test_quotes_of_speech_are_text(tmp_path: Path, text: str) -> None:
    assert [f"{source}\t{target}" for source, target in read_pairs(write(tmp_path, text), DE_EN)] == text.splitlines()


def test_a_quoted_line_in_a_plain_file(tmp_path: Path) -> None:
    path = write(tmp_path, f'{SPEECH}"sag ""Ja"""\t"say ""yes"""\n')
    assert list(read_pairs(path, DE_EN))[1] == ('sag "Ja"', 'say "yes"')


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '"eins\nzwei"\t"one\ntwo"\n\nja\tyes\n')
    assert [line for line, *_ in tsv_rows(path, DE_EN, Tally())] == [1, 4, 5]


@pytest.mark.parametrize(
    ("header", "languages"),
    [
        ("source\ttarget", DE_EN),
        ("Source text\tTranslation", DE_EN),
        ("Quelle\tZiel", DE_EN),
        ("de\ten", DE_EN),
        ("DE_at\teng-US", LanguagePair("deu_Latn", "eng_Latn")),
        ("German\tEnglish", DE_EN),
        ("Deutsch\tEnglisch", DE_EN),
        ("German (Germany)\tEnglish (United Kingdom)", DE_EN),
        ("Source (de-DE)\tTarget (en-US)", DE_EN),
        ('"Deutsch"\t"English"', DE_EN),
        ("中文\tFrançais", LanguagePair("zh", "fr")),
        ("qxq\txx", LanguagePair("qxq", "xx")),
    ],
)
def test_a_header_row_is_no_pair(tmp_path: Path, header: str, languages: LanguagePair) -> None:
    path = write(tmp_path, f"\ufeff{header}\nja\tyes\n")
    tally = Tally()
    assert list(tsv_rows(path, languages, tally)) == [(2, "ja", "yes")]
    assert str(tally.cleaned["header row left out"].first) == f"{path}:1"


@pytest.mark.parametrize("first", ["Deutsch\tGerman", "Ja\tYes", "Quelle\tSource", "de\tfr", "\t", "(a)\t()"])
def test_a_first_pair_is_no_header(tmp_path: Path, first: str) -> None:
    assert len(list(tsv_rows(write(tmp_path, f"{first}\nja\tyes\n"), DE_EN, Tally()))) == 2


def test_a_header_in_the_other_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match=r"a.tsv:1: the header row names 'English' and 'German', .*swap the columns"):
        read_pairs(write(tmp_path, "English\tGerman\nyes\tja\n"), DE_EN)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    text = 'Bär\tbear\r\n"你\n""好"""\t"hey ""you"""\r\n'
    content = ("\ufeff" if encoding == "utf-16-be" else "") + text
    path = write(tmp_path, gzip.compress(content.encode(encoding)))
    assert list(read_pairs(path, DE_EN)) == [("Bär", "bear"), ('你 "好"', 'hey "you"')]


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")
    return buffer.getvalue()


def database(tmp_path: Path) -> bytes:
    path = tmp_path / "memory"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE units (source, target)")
    connection.close()
    return path.read_bytes()


def table(separator: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([("ja, gut", "yes; well"), ('"nein"', "no"), ("a\nb", "c")])
    return text.getvalue().encode()


XLIFF = b'<?xml version="1.0"?>\n<!-- a -->\n<xliff version="1.2"><file source-language="de"/></xliff>\n'
PO = b'# Someone\n#, fuzzy\nmsgid ""\nmsgstr ""\n"Content-Type: text/plain\\n"\n\n#: a.c:1\nmsgid "Yes"\nmsgstr "Ja"\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(), r"a ZIP archive, such as .xlsx.*; save the table as tab-separated text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), r"older Office programs, such as .xls"),
        (b"%PDF-1.7\n", r"a PDF"),
        (b"BZh91AY&SY", r"packed by bzip2.*; unpack it"),
        (XLIFF, r"XLIFF, .*; convert it to TMX"),
        (XLIFF.decode().encode("utf-16"), r"XLIFF"),
        (b"\xef\xbb\xbf<tmx version='1.4'>\n<body>\n", r"TMX, .*; let its name end in .tmx"),
        (b"<resources>\n\t<string>a</string>\n", r"XML \(<resources>\)"),
        (b"<!DOCTYPE html>\n<html><body>\n", r"HTML"),
        (PO, r"a PO file, .*po2tmx"),
        (b'{\n\t"ja": "yes"\n}\n', r"JSON"),
        (b'[{"de": "ja", "en": "yes"}]\n', r"JSON"),
        (table(","), r"a table with commas.*: with tabs between the columns"),
        (table(";"), r"a table with semicolons"),
        (b"ja\tyes\rnein\tno\r", r"lines end in CR alone"),
        ("ja\tyes\nnein\tno\n".encode("utf-16-le"), r"UTF-16 without a byte order mark.*iconv -f UTF-16LE"),
        ("ja\tyes\nnein\tno\n".encode("utf-16-be"), r"UTF-16 without a byte order mark.*iconv -f UTF-16BE"),
        ("ja\tyes\nB\u00e4r\tbear\n".encode("latin-1"), r"a.tsv:2: not UTF-8 \(byte 0xe4 at position 1\)"),
        ("ja\tyes\n".encode("utf-16")[:-1], r"a.tsv:1: damaged UTF-16"),
    ],
)
def test_what_it_seems_to_be_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    for packed in (False, True):
        with pytest.raises(FmallocError, match=rf"^.*a.tsv: ?.*{message}" if "a.tsv" not in message else message):
            read_pairs(write(tmp_path, gzip.compress(content) if packed else content), DE_EN)


def test_a_database_of_a_tool_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, database(tmp_path), "memory.sdltm")
    with pytest.raises(FmallocError, match=r"memory.sdltm: it seems to be a database, .*; export it as TMX"):
        read_pairs(path, DE_EN)


@pytest.mark.parametrize("text", ["{0}\t{0}\n", "<b>\tbold\n", "[1]\t[1]\n", "<?\t<?\n", "a, b\tc, d\n", "\0\t\0\n"])
def test_pairs_that_begin_like_another_format_are_read(tmp_path: Path, text: str) -> None:
    assert len(list(tsv_rows(write(tmp_path, text), DE_EN, Tally()))) == 1


def test_what_was_cleaned_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [f"Satz {i}\tsentence {i}\n" for i in range(200)]
    odd = ['"Er ""ging"""\t"he ""went"""\n', "M&amp;S\tM&amp;S\n", "<b>a</b>\ta\n", "A&amp;B\tA&B\n"]
    path = write(tmp_path, "".join(["de\ten\n", *pairs, *odd]))
    messages = list(read_corpus(path, DE_EN).report.messages("it"))
    cleaned = (
        f"cleaned: 2 entities decoded (first: {path}:203), 1 header row left out (first: {path}:1), 1 spreadsheet's "
        f"quotes taken out (first: {path}:202), 1 tags taken out (first: {path}:204)"
    )
    assert messages[1] == f"it: {cleaned}"
    read_pairs(path, DE_EN)
    assert f"{path}: {cleaned}" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize("quoted", [True, False])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, quoted: bool) -> None:
    line = '"Satz ""{0}""\n{1}"\t"sentence {1}"\n' if quoted else "Satz {0} {1}\tsentence {1}\n"
    path = write(tmp_path, "".join(line.format(i, "ab " * 100) for i in range(3000)))
    tracemalloc.start()
    count = sum(1 for _ in tsv_rows(path, DE_EN, Tally()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3000
    assert peak < path.stat().st_size / 5
