"""Train-test exposure, on corpora small enough to be checked by hand."""

from pathlib import Path

import pytest

from benchmarks.experiment.exposure import Nearest, exposure, exposure_of, nearest
from fmalloc.corpus import Pair
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

TRAIN = (
    Pair("Der Hund sieht die Maus.", "The dog sees the mouse."),
    Pair("Der Hund sieht die Maus.", "The hound looks at the mouse."),
    Pair("abcdefghij", "ten letters"),
    Pair("Ganz anderes steht hier, und davon viel mehr.", "Something else is here, and much more of it."),
)


def write(folder: Path, train: tuple[Pair, ...], test: tuple[Pair, ...]) -> None:
    folder.mkdir(parents=True)
    for part, pairs in (("train", train), ("dev", (Pair("Ja.", "Yes."),)), ("test", test)):
        text = "".join(f"{source}\t{target}\n" for source, target in pairs)
        (folder / f"{part}.tsv").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "similarity", "target"),
    [
        ("Der Hund sieht die Maus.", 1.0, "The dog sees the mouse."),  # of two translations the first
        ("Der  Hund\u00a0sieht die Ma\u00adus. ", 1.0, "The dog sees the mouse."),  # spaces and a soft hyphen
        ("abcdefghiX", 0.9, "ten letters"),  # one edit in ten characters
        ("abcdefghijXX", 10 / 12, "ten letters"),  # two, of the longer one's twelve
        ("AbcdefghiJ", 0.8, "ten letters"),  # a capital is an edit
    ],
)
def test_the_nearest_source_is_found_by_its_edits(source: str, similarity: float, target: str) -> None:
    (found,) = nearest([source], TRAIN)
    assert (found.similarity, found.target) == (pytest.approx(similarity), target)


def test_texts_that_share_nothing_get_the_first_translation() -> None:
    assert nearest(["12345"], TRAIN[2:3]) == [Nearest(0.0, "abcdefghij", "ten letters")]


def test_nothing_to_be_near_to_is_an_error() -> None:
    with pytest.raises(ValueError, match="no training pair"):
        nearest(["Der Hund."], [])


def test_shares_and_scores_are_those_counted_by_hand() -> None:
    test = (
        Pair("Der Hund sieht die Maus.", "The dog sees the mouse."),  # 1
        Pair("Der Hund sieht die Haus.", "The dog sees the house."),  # 23 of 24
        Pair("abcdefgh12", "eight letters"),  # 0.8
        Pair("abcde12345", "five letters"),  # 0.5
        Pair("abcd123456", "four letters"),  # 0.4
    )
    counts: list[int] = []
    found = exposure_of(TRAIN, test, counts.append)
    assert (found["lines"], found["pairs"], sum(counts)) == (5, 4, 5)
    assert found["exact"] == 1 / 5
    assert found["near"] == {"0.9": 2 / 5, "0.75": 3 / 5, "0.5": 4 / 5}
    assert found["similarity"] == pytest.approx((1 + 23 / 24 + 0.8 + 0.5 + 0.4) / 5)


def test_a_memory_that_holds_the_test_set_scores_100() -> None:
    sources = [f"Satz {number} hat sieben ganz andere Wörter." for number in range(4)]
    targets = [f"Sentence {number} has seven quite different words." for number in range(4)]
    pairs = tuple(map(Pair, sources, targets))
    memory = exposure_of(pairs, pairs)["memory"]
    assert memory["bleu"] == pytest.approx(100) and memory["chrf"] == pytest.approx(100)
    assert memory["bleu_interval"] == pytest.approx([100, 100])
    shifted = tuple(map(Pair, sources, [*targets[1:], targets[0]]))
    assert exposure_of(shifted, pairs)["memory"]["bleu"] < 100


def test_text_is_compared_as_training_sees_it(tmp_path: Path) -> None:
    test = (Pair("Der Hund sieht die Maus.", "The dog sees the mouse."), Pair("abcdefghij", "letters"))
    write(tmp_path / "office", TRAIN, test)
    found = exposure(tmp_path, ["office"], LanguagePair("de", "en"))
    # The pair that test has too is not learned from, though its source is, with another translation.
    assert found["office"]["pairs"] == 3
    assert found["office"]["exact"] == 1.0


@pytest.mark.parametrize(
    ("train", "message"), [((), r"train\.tsv: empty"), (TRAIN[2:3], r"office: no train pair is left")]
)
def test_a_domain_without_training_text_is_an_error_that_names_it(
    train: tuple[Pair, ...], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "office", train, TRAIN[2:3])
    with pytest.raises(FmallocError, match=message):
        exposure(tmp_path, ["office"], LanguagePair("de", "en"))
