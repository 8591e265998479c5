"""Sources that say beside some words how they are to be translated."""

from collections.abc import Sequence

from fmalloc.corpus import Pair
from fmalloc.learning.annotation.alignment import Aligned, Word
from fmalloc.learning.annotation.terminology import with_terms
from fmalloc_shared.annotations import Markers
from fmalloc_shared.languages import LanguagePair

LANGUAGES, MARKERS = LanguagePair("de", "en"), Markers("|", "|")
_ALONE = (("file", " | file |", ""), ("plant", "", " | plant |"))
# Words that no two pairs share, so that none is common.
OTHERS = [
    f"{first}{second}" for first in "bcdfghjklmnpqrstvwxz" for second in ("lpha", "rabe", "eta", "und", "okko", "ist")
]


def words(text: str) -> list[Word]:
    found, begin = [], 0
    for part in text.split():
        begin = text.index(part, begin)
        core = part.rstrip(".,")
        found.append(Word(begin, begin + len(core), core))
        begin += len(part)
    return found


def aligned(source: str, target: str, links: Sequence[tuple[int, int]]) -> Aligned:
    here, there = words(source), words(target)
    return Aligned(Pair(source, target), tuple((here[one], there[other]) for one, other in links))


def others() -> list[Aligned]:
    return [aligned(f"{word} ist da.", f"{word[::-1]} is here.", [(0, 0), (1, 1), (2, 2)]) for word in OTHERS]


def test_words_that_are_linked_again_and_again_are_terms() -> None:
    pairs = [
        aligned("Die Datei ist offen.", "The file is open.", [(0, 0), (1, 1), (2, 2), (3, 3)]),
        aligned("Eine Datei, zwei.", "A file, two.", [(0, 0), (1, 1), (2, 2)]),
        *others(),
    ]
    found = with_terms(pairs, MARKERS, 1, LANGUAGES)
    assert found == [
        Pair("Die Datei | file | ist offen.", "The file is open."),
        Pair("Eine Datei | file |, zwei.", "A file, two."),
    ]
    assert found == with_terms(pairs, MARKERS, 1, LANGUAGES)


def test_rarer_terms_are_annotated_more_often() -> None:
    text = [("Die Datei fehlt.", "The file lacks.")] * 4 + [("Die Datei der Anlage.", "The file of the plant.")] * 2
    links = ([(1, 1)], [(1, 1), (3, 4)])
    pairs = [aligned(*pair, links[at >= 4]) for at, pair in enumerate(text)]
    found = [pair.source for seed in range(60) for pair in with_terms([*pairs, *others()], MARKERS, seed, LANGUAGES)]
    alone = {name: found.count(f"Die Datei{one} der Anlage{other}.") for name, one, other in _ALONE}
    assert alone["plant"] > 2 * alone["file"] > 0


def test_half_of_the_time_a_note_has_the_usual_form() -> None:
    often = [aligned("Die Datei fehlt.", "The file lacks.", [(1, 1)])] * 3
    pairs = [*often, *[aligned("Die Dateien fehlen.", "The files lack.", [(1, 1)])] * 2, *others()]
    notes = {pair for seed in range(20) for pair in with_terms(pairs, MARKERS, seed, LANGUAGES)}
    assert notes == {
        Pair("Die Datei | file | fehlt.", "The file lacks."),
        Pair("Die Dateien | file | fehlen.", "The files lack."),
        Pair("Die Dateien | files | fehlen.", "The files lack."),
    }


def test_what_is_common_short_or_no_word_is_no_term() -> None:
    common = [aligned(f"{word} Vertrag 2004.", f"{word} contract 2004.", [(1, 1), (2, 2)]) for word in OTHERS]
    assert with_terms(common, MARKERS, 1, LANGUAGES) == []
    short = [aligned("Er hat an.", "He is on.", [(0, 0), (2, 2)])] * 2
    assert with_terms([*short, *others()], MARKERS, 1, LANGUAGES) == []


def test_a_source_with_a_marker_of_its_own_gets_no_note() -> None:
    pairs = [aligned("Die Datei | da.", "The file | there.", [(1, 1)])] * 2
    assert with_terms([*pairs, *others()], MARKERS, 1, LANGUAGES) == []


def test_no_more_than_three_terms_of_a_source_are_annotated() -> None:
    text, target = " ".join(OTHERS[:8]), " ".join(word[::-1] for word in OTHERS[:8])
    pairs = [aligned(text, target, [(at, at) for at in range(8)])] * 2
    found = with_terms([*pairs, *others()], MARKERS, 1, LANGUAGES)
    assert {pair.source.count("|") // 2 for pair in found if pair.target == target} <= {1, 2, 3}
