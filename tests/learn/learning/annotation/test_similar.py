"""Sources that have the translation of a similar one beside them."""

from fmalloc.corpus import Pair
from fmalloc.learning.annotation.similar import with_similar
from fmalloc_shared.annotations import Markers

MARKERS = Markers("|", "|")
PAIRS = [
    Pair("Die Datei ist offen.", "The file is open."),
    Pair("Die Datei ist nicht offen.", "The file is not open."),
    Pair("Ganz etwas anderes.", "Something else."),
    Pair("Die Datei ist offen.", "The document is open."),
]


def test_the_most_similar_other_source_tells_its_translation() -> None:
    assert with_similar(PAIRS, PAIRS, MARKERS) == [
        Pair("Die Datei ist offen. | | The file is not open. | |", "The file is open."),
        Pair("Die Datei ist nicht offen. | | The file is open. | |", "The file is not open."),
        Pair("Die Datei ist offen. | | The file is not open. | |", "The document is open."),
    ]


def test_equal_sources_and_such_with_markers_tell_nothing() -> None:
    assert with_similar(PAIRS[:1], PAIRS[:1] + PAIRS[3:], MARKERS) == []
    marked = [Pair("Die Datei | offen.", "The file | open."), Pair("Die Datei, offen.", "The file, open.")]
    assert [pair.target for pair in with_similar(marked, marked, MARKERS)] == ["The file, open."]


def test_more_pairs_than_are_compared_together() -> None:
    pairs = [Pair(f"Die Rechnung Nummer {number} ist da.", f"Invoice {number} is here.") for number in range(230)]
    found = with_similar(pairs, pairs, MARKERS)
    assert [pair.target for pair in found] == [pair.target for pair in pairs]
    assert all(pair.source.startswith(one.source) for pair, one in zip(found, pairs, strict=True))
