"""Matches of a translation memory, compared with every pair by brute force."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from fmalloc_runtime.memory.file import write_memory
from fmalloc_runtime.memory.folding import folded
from fmalloc_runtime.memory.memory import Match, Memory

PAIRS = [
    ("Der Vertrag tritt am 1. Mai in Kraft.", "The treaty enters into force on 1 May."),
    ("Der Vertrag tritt am 2. Mai in Kraft.", "The treaty enters into force on 2 May."),
    ("Die Verordnung tritt sofort in Kraft.", "The regulation enters into force at once."),
    ("Artikel 3", "Article 3"),
    ("ja", "yes"),
    ("Artikel 3", "Article 3"),
    ("Artikel 3", "Section 3"),
    ("artikel 3", "article three"),
]


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Memory:
    path = tmp_path_factory.mktemp("memory") / "memory.sqlite"
    write_memory(path, PAIRS)
    return Memory(path)


def test_an_exact_match_but_for_white_space_and_what_shows_nothing(memory: Memory) -> None:
    found = memory.exact(["ja", " ja\u200b\n", "Ja", "nein", ""])
    assert found == {"ja": "yes", " ja\u200b\n": "yes"}


def test_of_several_translations_the_first(memory: Memory) -> None:
    assert memory.exact(["Artikel 3"]) == {"Artikel 3": "Article 3"}
    assert memory.exact(["artikel 3"]) == {"artikel 3": "article three"}


def test_similar_sources_are_offered_most_similar_first(memory: Memory) -> None:
    asked = "Der Vertrag tritt am 1. Juni in Kraft."
    found = memory.similar(asked, 60, 5)
    assert [match.target for match in found] == [pair[1] for pair in PAIRS[:2]]
    assert found[0] == Match(*PAIRS[0], round(100 * (1 - 3 / 38), 1))
    assert memory.similar(asked, 60, 1) == found[:1]
    assert memory.similar(asked, 95, 5) == []


def test_what_is_there_is_a_hundred_per_cent(memory: Memory) -> None:
    assert [(match.target, match.similarity) for match in memory.similar("Artikel 3", 95, 9)] == [
        ("Article 3", 100.0),
        ("Section 3", 100.0),
    ]


def test_an_exact_match_is_found_by_common_trigrams_too(tmp_path: Path) -> None:
    write_memory(tmp_path / "memory.sqlite", [*((f"ja ja {number}", "no") for number in range(600)), ("ja ja", "yes")])
    (match,) = Memory(tmp_path / "memory.sqlite").similar("ja ja", 99, 5)
    assert (match.target, match.similarity) == ("yes", 100.0)


def test_nothing_is_like_nothing(memory: Memory) -> None:
    assert memory.similar("", 1, 5) == [] and memory.similar("ξ", 1, 5) == []


words = st.lists(st.sampled_from(["Haus", "Hof", "und", "am", "See", "Weg", "Tür", "3"]), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(sources=st.lists(words.map(" ".join), min_size=1, max_size=30, unique=True), asked=words.map(" ".join))
def test_the_best_match_is_that_of_comparing_with_every_pair(
    sources: list[str], asked: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("drawn") / "memory.sqlite"
    write_memory(path, [(source, source.upper()) for source in sources])
    every = [100 * Levenshtein.normalized_similarity(folded(asked), folded(source)) for source in sources]
    found = Memory(path).similar(asked, 70, 50)
    assert [match.similarity for match in found] == sorted(
        (round(similarity, 1) for similarity in every if similarity >= 70), reverse=True
    )
