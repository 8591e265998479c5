"""Strict records: what is refused, and bytes that never change."""

from pathlib import Path
from typing import Literal

import pytest

from fmalloc.store.records import DataRecord, Score, Scores, TaskRecord
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.strict import StrictModel, parse_json, read_json


class Note(StrictModel):
    version: Literal[1] = 1
    languages: LanguagePair
    lines: tuple[str, ...] = ()


NOTE = Note(languages=LanguagePair("de", "en"), lines=("größer", "b"))
BYTES = """\
{
  "languages": {
    "source": "de",
    "target": "en"
  },
  "lines": [
    "größer",
    "b"
  ],
  "version": 1
}
"""


def test_bytes_and_back() -> None:
    assert NOTE.to_bytes().decode() == BYTES
    assert NOTE.to_line().decode() == (
        '{"languages": {"source": "de", "target": "en"}, "lines": ["größer", "b"], "version": 1}\n'
    )
    assert Note.parse(NOTE.to_bytes(), "note.json") == NOTE
    source, target = NOTE.languages
    assert (source, target) == ("de", "en")


def test_a_store_writes_its_records_as_it_always_did() -> None:
    record = TaskRecord(
        name="it",
        reads=[],
        settings={"updates": 5, "learning_rate": 5e-4},
        data={"dev": DataRecord(pairs=2, sha256="0" * 64)},
        scores=Scores(domains={"it": Score(bleu=30.0, chrf=50.5)}, signatures={}),
        dev=Score(bleu=1.0, chrf=2.0),
        curve=[],
        files={},
    )
    lines = record.to_bytes().decode().splitlines()
    assert lines[:3] == ["{", ' "curve": [],', ' "data": {']
    assert '  "learning_rate": 0.0005,' in lines
    assert lines[-2:] == [' "version": 3', "}"]
    assert TaskRecord.parse(record.to_bytes(), "task.json") == record


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 1', '"version": 2, "other": 3', "note.json: version 2, this program reads version 1"),
        (',\n  "version": 1', "", "note.json: version None, this program reads version 1"),
        ('"de"', "7", "note.json: languages.source: Input should be a valid string, found 7"),
        ('"target": "en"', '"target": "en", "third": "fr"', "note.json: languages.third: Unexpected"),
        ('"b"', '"b", null', "note.json: lines.2: Input should be a valid string, found None"),
        ('"version": 1', '"version": 1, "more": 1', "note.json: more: Extra inputs are not permitted, found 1"),
        ("{\n", "", "note.json: Invalid JSON"),
        (
            '"de"',
            '"de", "source": "fr"',
            "note.json: not JSON in UTF-8: key 'source' is given twice, with 'de' and 'fr'",
        ),
        ('"version": 1', '"version": 1, "version": 1', "key 'version' is given twice, with 1 and 1"),
    ],
)
def test_what_is_not_exactly_right_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in BYTES
    path = tmp_path / "note.json"
    path.write_text(BYTES.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(FmallocError) as caught:
        Note.read(path)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="none.json: cannot be read: No such file"):
        Note.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', "key 'a' is given twice, with 1 and 2"),
        (b'[{"b": {"a": 1, "c": 2, "a": 3}}]', "key 'a' is given twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b'"\xff"', "'utf-8' codec can't decode"),
        ('{"a": 1}'.encode("utf-16"), "'utf-8' codec can't decode"),
        (b"[" * 100_000, "recursion"),
        (b"1" * 5000, "integer string conversion"),
        (b"", "Expecting value"),
    ],
)
def test_json_is_read_strictly(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="note.json: not JSON in UTF-8: ") as caught:
        parse_json(data, "note.json")
    assert message in str(caught.value)
    (tmp_path / "note.json").write_bytes(data)
    with pytest.raises(FmallocError):
        read_json(tmp_path / "note.json")


def test_numbers_are_finite() -> None:
    with pytest.raises(FmallocError, match="score.json: bleu: Input should be a finite number, found nan"):
        Score.parse(b'{"bleu": NaN, "chrf": 1.0}', "score.json")
    with pytest.raises(FmallocError, match="bleu: Input should be a finite number, found inf"):
        Score.parse(b'{"bleu": 1e999, "chrf": 1.0}', "score.json")


def test_a_version_where_none_belongs_is_an_unknown_key() -> None:
    class Bare(StrictModel):
        text: str

    with pytest.raises(FmallocError, match=r"golden\.jsonl:1: version: Extra inputs are not permitted, found 3"):
        Bare.parse(b'{"text": "a", "version": 3}', "golden.jsonl:1")


def test_problems_are_counted_where_nobody_would_read_them_all() -> None:
    class Listed(StrictModel):
        names: tuple[str, ...]

    with pytest.raises(FmallocError) as found:
        Listed.parse(b'{"names": [' + b"0," * 100_000 + b"0]}", "task.json")
    lines = str(found.value).split("\n")
    assert len(lines) == 21 and lines[20] == "task.json: and 99,981 more problems"
