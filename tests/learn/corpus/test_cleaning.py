from pathlib import Path

import numpy as np
import pytest

from fmalloc.cache.columns import Draft
from fmalloc.corpus import CorpusSettings, Pair, read_corpus
from fmalloc.corpus.blocks import Block
from fmalloc.corpus.cleaning import EVERYTHING
from fmalloc.corpus.formats.formats import Row
from fmalloc.corpus.overlap import HeldOutPairs
from fmalloc.corpus.report import CorpusReport, Tally
from fmalloc.corpus.table import Table
from fmalloc.learning.run import Run
from fmalloc.recipe import validate_recipe
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

DE_EN = LanguagePair("de", "en")
FILE = Path("a.tsv")


def kept_of(rows: list[Row], settings: CorpusSettings, tally: Tally) -> list[Pair]:
    """The rows of a file that are kept."""
    with Draft() as draft:
        table = Table(FILE, [Block.of(FILE, settings, [], rows)], draft, tally, [])
    if settings.drop_duplicates:
        table.drop_duplicates(tally)
    table.count_changed(tally)
    return [table.pairs[row] for row in np.flatnonzero(table.kept).tolist()]


def cleaned(pairs: list[tuple[str, str]], settings: CorpusSettings) -> tuple[list[int], dict[str, int]]:
    """Which of the pairs are kept, and how many are dropped for what."""
    tally = Tally()
    kept = kept_of([(number, *pair) for number, pair in enumerate(pairs)], settings, tally)
    return [pairs.index(pair) for pair in kept], {reason: found.pairs for reason, found in tally.dropped.items()}


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("Wort " * 999, "word " * 999), None),
        (("Wort " * 1001, "word " * 1001), "over 5000 characters"),
        (("Wort", "word " * 1001), "over 5000 characters"),
        (("x" * 10, "y" * 90), None),
        (("x" * 10, "y" * 91), "length ratio over 9"),
        (("x" * 460, "y" * 50), "length ratio over 9"),
        (("PTO", "Zapfwellenantriebssteuergerätekonfigurationen"), None),
        (("他昨天在图书馆看了三本关于历史的书。", "Yesterday he read three books about history in the library."), None),
        (("a\0b", "x"), "control characters"),
        (("x", "a\x7fb"), "control characters"),
        (("x", "a\rb"), "control characters"),
        (("caf\ufffd", "x"), "control characters"),
        (("a\u2028b", "a\u00a0b"), None),
        (("\u00ad \u200b", "x"), "empty side"),
    ],
)
def test_what_teaches_nothing_is_dropped(pair: tuple[str, str], reason: str | None) -> None:
    assert cleaned([pair], CorpusSettings()) == (([0], {}) if reason is None else ([], {reason: 1}))
    assert cleaned([pair], EVERYTHING) == ([0], {})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ser\u00adver\ufeff", "Server"),
        ("\x84so\x93", "so"),
        ("a\u00a0\u200d\u00adb", "a\u00a0b"),
        ("\u2068{name}\u2069\u200e", "{name}"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_invisible_characters_are_not_learned(text: str, shown: str) -> None:
    tally = Tally()
    rows: list[Row] = [(7, "Ja", "Yes"), (8, text, text)]
    assert kept_of(rows, CorpusSettings(), tally)[1] == Pair(shown, shown)
    assert (text == shown) == (not tally.cleaned)
    assert kept_of(rows, EVERYTHING, Tally())[1] == Pair(text, text)


def test_what_was_taken_out_is_told() -> None:
    tally = Tally(read=3)
    rows: list[Row] = [(1, "Ja", "Yes"), (2, "J\u00ada", "Yes"), (3, "Nein", "N\u200bo")]
    kept = kept_of(rows, CorpusSettings(), tally)
    assert kept == [("Ja", "Yes"), ("Nein", "No")]
    lines = list(CorpusReport.of(tally, train=2, dev=0, test=0).messages("it"))
    assert lines[:2] == [
        "it: 2 train, 0 dev, 0 test pairs; dropped 1 of 3: 1 duplicate (first: a.tsv:2)",
        "it: cleaned: 1 invisible characters taken out (first: a.tsv:3)",
    ]


def test_limits_are_settings() -> None:
    settings = CorpusSettings(maximum_characters=60, maximum_ratio=2.5)
    pairs = [("x" * 30, "y" * 60), ("x" * 30, "y" * 61), ("x" * 20, "y" * 51)]
    assert cleaned(pairs, settings) == ([0], {"over 60 characters": 1, "length ratio over 2.5": 1})


def test_the_first_of_identical_pairs_stays() -> None:
    pairs = [("ja", "yes"), ("ja", "yeah"), ("ja", "yes"), ("Ja", "yes"), ("ja", "yes")]
    assert cleaned(pairs, CorpusSettings()) == ([0, 1, 3], {"duplicate": 2})


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        (("Öffnen Sie die Datei!", "Open the file."), "pair"),
        (("ÖFFNEN  sie die »Datei« …", "open the file"), "pair"),
        (("Öffnen Sie die Datei.", "Open this file."), "source"),
        (("Öffnen Sie die Dateien.", "Open the file."), None),
        (("5 €", "5 euros"), "pair"),
        (("5 $", "5 euros"), None),
        (("…", "..."), "pair"),
        (("!", "..."), None),
        (("कि", "that"), "pair"),
        (("का", "that"), None),
    ],
)
def test_held_out_pairs_are_found_whatever_their_case_and_punctuation(pair: tuple[str, str], match: str | None) -> None:
    held_out = HeldOutPairs(
        [Pair("Öffnen Sie die Datei.", "Open the file.")],
        [Pair("5 €", "5 Euros"), Pair("…", "..."), Pair("कि", "that")],
    )
    assert held_out.match(Pair(*pair)) == match
    assert HeldOutPairs().match(Pair(*pair)) is None


def write_parts(folder: Path) -> Path:
    """A train set of which one pair is in test, one in dev, and one shares a source with test."""
    folder.mkdir()
    known = "Ja.\tYes.\nNein\tNo\n"
    (folder / "train.tsv").write_text(known + "Vielleicht\tPerhaps\n" + "".join(f"{i}\t{i}\n" for i in range(997)))
    held_out = [f"neu {i}\tnew {i}\n" for i in range(99)]
    (folder / "dev.tsv").write_text("nein\tno.\n" + "".join(held_out))
    (folder / "test.tsv").write_text(
        "ja\tyes\nvielleicht\tmaybe\n" + held_out[0] + "".join(held_out).replace("eu", "ie")
    )
    return folder


def test_pairs_of_dev_and_test_are_not_learned_from(tmp_path: Path) -> None:
    corpus = read_corpus(write_parts(tmp_path / "it"), DE_EN)
    assert corpus.train[0] == Pair("Vielleicht", "Perhaps")
    assert list(corpus.report.messages("it")) == [
        "it: 998 train, 100 dev, 102 test pairs; dropped 2 of 1,202: 2 in dev or test",
        "it: warning: training pairs whose source is in dev or test with another translation: 1 (kept)",
        "it: warning: test pairs that are also in dev, which selects the best state: 1",
        "it: warning: tiny: 998 train pairs (below 1,000: likely to overfit, so that learning stops early)",
    ]


def test_overlap_can_be_kept_but_is_told(tmp_path: Path) -> None:
    corpus = read_corpus(write_parts(tmp_path / "it"), DE_EN, CorpusSettings(drop_overlap=False))
    assert len(corpus.train) == 1000
    assert "training pairs that dev or test also hold, which inflates scores: 2" in corpus.report.warnings


def test_variants_of_drawn_pairs_are_not_learned_from(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"Satz {i}\ts {i}\nSATZ {i}.\tS {i}.\n" for i in range(500)))
    corpus = read_corpus(path, DE_EN)
    held_out = HeldOutPairs(corpus.dev, corpus.test)
    assert not any(held_out.match(pair) for pair in corpus.train)
    assert corpus.report.dropped["in dev or test"].pairs > 50


def test_tiny_parts_are_told() -> None:
    assert CorpusReport.of(Tally(), train=1000, dev=100, test=100).warnings == ()
    (warning,) = CorpusReport.of(Tally(), train=999, dev=7, test=100).warnings
    assert warning.startswith("tiny: 999 train pairs (below 1,000: ")
    assert "7 dev pairs (below 100: " in warning
    assert "test" not in warning


def test_the_recipe_says_what_is_dropped(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    it = str(write_parts(tmp_path / "it"))
    content = {"base": str(base), "general": it, "device": "cpu", "tasks": [{"name": "it", "data": it}]}
    assert len(Run.of(validate_recipe(content, "r.yaml")).corpora["it"].train) == 998
    assert "it: 998 train, 100 dev, 102 test pairs; dropped 2 of 1,202: 2 in dev or test" in capsys.readouterr().err
    nie = write_parts(tmp_path / "nie") / "test.tsv"
    nie.write_text("0\t0.\n" + nie.read_text())
    tasks = [*content["tasks"], {"name": "nie", "data": str(nie.parent)}]
    Run.of(validate_recipe(content | {"tasks": tasks}, "r.yaml"))
    assert "it: warning: training pairs that are in another domain's test set: 1\n" in capsys.readouterr().err
    kept = Run.of(validate_recipe(content | {"corpus": {"drop_overlap": False}}, "r.yaml"))
    assert len(kept.corpora["it"].train) == 1000
    with pytest.raises(FmallocError, match=r"r.yaml: corpus.maximum_ratio: Input should be greater than 1, found 0.5"):
        validate_recipe(content | {"corpus": {"maximum_ratio": 0.5}}, "r.yaml")
