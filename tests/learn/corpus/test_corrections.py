"""Corrections from files and logs: garbage left out and counted, the last one of a source holds."""

import gzip
from pathlib import Path

import pytest

from fmalloc.corpus import Pair
from fmalloc.corpus.corrections import read_corrections
from fmalloc.corpus.report import Tally
from fmalloc_shared.corrections import Correction
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

LANGUAGES = LanguagePair("de", "en")
OPEN = ("Das Fenster ist offen.", "The window is open.")


def line(source: str, target: str, domain: str = "it", languages: LanguagePair = LANGUAGES) -> bytes:
    return Correction(
        time="2026-11-29T02:18:54.000+00:00",
        languages=languages,
        asked="auto",
        domain=domain,
        score=1.0,
        bundle="it@0123456789ab",
        source=source,
        target=target,
    ).to_line()


def dropped(tally: Tally) -> dict[str, int]:
    return {reason: count.pairs for reason, count in tally.dropped.items()}


def test_a_table_without_its_garbage(tmp_path: Path) -> None:
    rows = [
        OPEN,
        ("Das Fenster ist zu.", "The window."),
        ("", "nothing"),
        ("Das Fenster ist weit offen.", "das fenster ist weit offen"),
        ("Ein <b>Fen\u00adster</b> &amp; Tor", "A <b>window</b> &amp; gate"),
        ("Das Fenster ist zu.", "The window is shut."),
    ]
    (tmp_path / "day.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in rows))
    tally = Tally()
    found = read_corrections(tmp_path / "day.tsv", "it", LANGUAGES, tally)
    assert found == (Pair(*OPEN), Pair("Ein Fenster & Tor", "A window & gate"), Pair(*rows[-1]))
    assert dropped(tally) == {
        "a side is empty": 1,
        "the target has the words of the source": 1,
        "corrected again later": 1,
    }
    assert tally.read == 6


def test_a_log_and_the_folder_that_it_lies_in(tmp_path: Path) -> None:
    other = line("Das Urteil ist gefallen.", "Judgment was given.", "law")
    (tmp_path / "it.jsonl").write_bytes(line(*OPEN) + other + line(*OPEN)[:50])
    for path in (tmp_path, tmp_path / "it.jsonl"):
        tally = Tally()
        assert read_corrections(path, "it", LANGUAGES, tally) == (Pair(*OPEN),)
        assert dropped(tally) == {"of another domain": 1}


def test_other_formats(tmp_path: Path) -> None:
    (tmp_path / "moses.de").write_text(f"{OPEN[0]}\n")
    (tmp_path / "moses.en").write_text(f"{OPEN[1]}\n")
    (tmp_path / "packed.tsv.gz").write_bytes(gzip.compress("\t".join(OPEN).encode() + b"\n"))
    units = "".join(
        f'<tuv xml:lang="{code}"><seg>{text}</seg></tuv>' for code, text in zip(LANGUAGES, OPEN, strict=True)
    )
    (tmp_path / "memory.tmx").write_text(f'<tmx version="1.4"><header/><body><tu>{units}</tu></body></tmx>')
    for name in ("moses", "packed.tsv.gz", "memory.tmx"):
        assert read_corrections(tmp_path / name, "it", LANGUAGES, Tally()) == (Pair(*OPEN),)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("it.jsonl", b"{}\n", r"it.jsonl:1: "),
        ("it.jsonl", line(*OPEN, languages=LanguagePair("en", "de")), "it.jsonl:1: a correction of en-de, the store"),
        ("day.tsv", b"no tab\n", "day.tsv:1"),
        ("day.tsv", b"", "day.tsv: empty"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FmallocError, match=message):
        read_corrections(tmp_path / name, "it", LANGUAGES, Tally())


def test_what_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.tsv", tmp_path / "it.jsonl"):
        with pytest.raises(FmallocError, match=r"no corrections of it; expected a .tsv or .tmx file"):
            read_corrections(path, "it", LANGUAGES, Tally())
