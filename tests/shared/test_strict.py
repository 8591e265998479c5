"""Strict records: what is refused, and bytes that never change."""

from pathlib import Path
from typing import Literal

import pytest

from fmalloc.store.records import DataRecord, Score, Scores, TaskRecord
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.strict import StrictModel


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
        order=1,
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
    assert lines[-2:] == [' "version": 1', "}"]
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
