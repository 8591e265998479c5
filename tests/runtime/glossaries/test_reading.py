"""Glossaries in files: what is read, and what is refused with its line."""

from pathlib import Path

import pytest

from fmalloc_runtime.glossaries.reading import LONGEST_TERM, read_glossary
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

PAIR = LanguagePair("de", "en")
TBX = """<?xml version="1.0" encoding="UTF-8"?>
<tbx type="TBX-Basic" style="dca" xml:lang="de" xmlns="urn:iso:std:iso:30042:ed-2"><text><body>
<conceptEntry id="c1">
  <langSec xml:lang="de-DE"><termSec><term>Schaltfläche</term></termSec><termSec><term>Knopf</term></termSec></langSec>
  <langSec xml:lang="en">
    <termSec><term>knob</term><termNote type="administrativeStatus">deprecatedTerm-admn-sts</termNote></termSec>
    <termSec><term>push
      button</term></termSec>
    <termSec><term>button</term><termNote type="administrativeStatus">preferredTerm-admn-sts</termNote></termSec>
  </langSec>
</conceptEntry>
<conceptEntry id="c2"><langSec xml:lang="fr"><termSec><term>fichier</term></termSec></langSec></conceptEntry>
</body></text></tbx>
"""
MARTIF = """<martif type="TBX"><text><body><termEntry><langSet xml:lang="de"><tig><term>Datei</term></tig></langSet>
<langSet xml:lang="en-GB"><ntig><termGrp><term>file</term></termGrp></ntig></langSet></termEntry></body></text></martif>
"""


def read(folder: Path, name: str, content: str | bytes) -> dict[str, str]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return {entry.source: entry.target for entry in read_glossary(path, PAIR)}


def refused(folder: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(FmallocError) as caught:
        read(folder, name, content)
    return str(caught.value).removeprefix(f"{folder}/")


def test_tsv(tmp_path: Path) -> None:
    text = "\ufeffDatei\tfile\r\n\r\n  offene Datei \topen file\r\n"
    assert read(tmp_path, "a.tsv", text) == {"Datei": "file", "offene Datei": "open file"}
    assert read(tmp_path, "b.TSV", "Datei\tfile".encode("utf-16")) == {"Datei": "file"}


def test_csv_with_headings_quotes_and_languages(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", 'source,target\n"Rohr, kurz","pipe, ""short"""\n') == {"Rohr, kurz": 'pipe, "short"'}
    four = "Datei,file,de,en-US\nDatei,fichier,de,fr\nfile,Datei,EN,DE\n"
    assert read(tmp_path, "b.csv", four) == {"Datei": "file"}


def test_tbx_takes_preferred_terms_and_never_deprecated_ones(tmp_path: Path) -> None:
    assert read(tmp_path, "a.tbx", TBX) == {"Schaltfläche": "button", "Knopf": "button"}
    assert read(tmp_path, "b.tbx", MARTIF) == {"Datei": "file"}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.tsv", "Datei\tfile\nFenster window\n", "a.tsv:2: 'Fenster window' has 1 columns: expected a term, a tab"),
        ("a.tsv", "a\tb\tc\n", "a.tsv:1: 'a\\tb\\tc' has 3 columns"),
        ("a.tsv", "Datei\tfile\n\nDatei\tdocument\n", "a.tsv:3: 'Datei' is there already, in line 1"),
        ("a.tsv", f"{'a ' * 41}\tb\n", "has 41 words, at most 40 are allowed"),
        ("a.tsv", "Datei\t \n", "a.tsv:1: a term is empty"),
        ("a.tsv", f"{'a' * (LONGEST_TERM + 1)}\tb\n", f"has {LONGEST_TERM + 1} characters, at most {LONGEST_TERM} are"),
        (
            "a.tsv",
            "Da\ufffdtei\tfile\n",
            "a.tsv:1: 'Da\ufffdtei': expected a term of one line without control characters",
        ),
        ("a.tsv", b"Fl\xe4che\tarea\n", "a.tsv:1: byte 0xe4 is not utf-8: convert the file to UTF-8 first"),
        ("a.tsv", "", "a.tsv: has no entry from de to en"),
        ("a.csv", 'Datei,file\n"Fenster,window\n', "a.csv:2: not CSV: "),
        ("a.csv", "Datei\n", "a.csv:1: 'Datei' has 1 columns"),
        ("a.csv", "fichier,file,fr,en\n", "a.csv: has no entry from de to en"),
        ("a.tbx", TBX.replace("tbx", "html"), "a.tbx:2: <html>: expected <tbx> or <martif>"),
        ("a.tbx", "<tbx>\n<term>", "a.tbx:2: is not well-formed XML: "),
        ("a.tbx", '<!DOCTYPE x [<!ENTITY a "b">]><tbx>&a;</tbx>', "entity 'a': XML with entities of its own is not"),
        ("a.xls", "", "a.xls: a glossary's name ends in .tsv, .csv, .tbx, found '.xls'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, name: str, content: str | bytes, problem: str) -> None:
    assert problem in refused(tmp_path, name, content)
