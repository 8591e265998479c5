"""Corrections: what is garbage, and what is read of a log."""

from pathlib import Path

import pytest

from fmalloc_shared.corrections import Correction, identity, read_log, refusal
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

SOURCE, TARGET = "Klicken Sie auf das offene Fenster.", "Click the open window."
LINE = Correction(
    time="2026-11-29T02:18:54.000+00:00",
    languages=LanguagePair("de", "en"),
    asked="auto",
    domain="it",
    score=0.75,
    bundle="it@0123456789ab",
    source=SOURCE,
    target=TARGET,
)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (SOURCE, "", "a side is empty"),
        ("", TARGET, "a side is empty"),
        (f"{SOURCE}\n{SOURCE}", TARGET, "several lines: send a correction per line"),
        (SOURCE, f"{TARGET}\x07", "control characters"),
        (SOURCE, "Click \ufffd.", "control characters"),
        ("a" * 5001, "b" * 5000, "over 5000 characters"),
        ("Wort " * 40, "word", "length ratio over 9"),
        (SOURCE, SOURCE.upper(), "the target has the words of the source"),
        (SOURCE, "Klicken Sie auf das offene Windows.", "the target has the words of the source"),
        (SOURCE, TARGET, None),
        ("In Windows 10 öffnen", "Open in Windows 10", None),
        ("Ja.", "Yes.", None),
    ],
)
def test_garbage_is_refused_with_its_reason(source: str, target: str, reason: str | None) -> None:
    assert refusal(source, target) == reason


def test_equal_corrections_have_one_identity() -> None:
    assert identity(SOURCE, TARGET) == identity(SOURCE, TARGET)
    assert len({identity(SOURCE, TARGET), identity(SOURCE, "Click."), identity(TARGET, SOURCE)}) == 3


def test_a_log_is_read_back_without_a_line_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "it.jsonl"
    path.write_bytes(LINE.to_line() * 2 + LINE.to_line()[:40])
    assert list(read_log(path)) == [(1, LINE), (2, LINE)]
    path.write_bytes(b"")
    assert list(read_log(path)) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"{}\n", r"it.jsonl:2: "),
        (b"\n", r"it.jsonl:2: "),
        (LINE.to_line().replace(b'"it"', b'"../it"'), r"it.jsonl:2: domain: .*use 1 to 63"),
        (LINE.to_line().replace(b'"version": 1', b'"version": 2'), r"it.jsonl:2: version 2, this program reads"),
        (b"x" * (1 << 20), r"it.jsonl:2: "),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes, message: str) -> None:
    path = tmp_path / "it.jsonl"
    path.write_bytes(LINE.to_line() + damage)
    with pytest.raises(FmallocError, match=message):
        list(read_log(path))
