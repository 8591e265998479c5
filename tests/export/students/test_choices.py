"""Vocabulary and beam of a student: which of them are tried, and which are found."""

from collections.abc import Mapping

from fmalloc_export.students.choices import staircase
from fmalloc_export.students.points import Point
from tests.export.students.test_budget import quality

# Points lost by vocabulary and beam.
LOST = {
    (900, 1): 0.5, (900, 2): 0.1, (900, 4): 0.0,
    (500, 1): 0.6, (500, 2): 0.2, (500, 4): 0.1,
    (100, 1): 5.0, (100, 2): 4.0, (100, 4): 3.0,
    (50, 1): 9.0, (50, 2): 9.0, (50, 4): 9.0,
}  # fmt: skip


def tried(lost: Mapping[tuple[int, int], float]) -> list[tuple[int, int, bool]]:
    def measured(tokens: int, beam: int) -> Point:
        return Point(1, 9, tokens, tokens, beam, 1.0, 1.0, 1.0, quality(lost[tokens, beam]))

    points = staircase((900, 500, 100, 50), (1, 2, 4), measured)
    return [(point.target_tokens, point.beam_size, point.holds) for point in points]


def test_a_smaller_vocabulary_begins_with_the_beam_that_the_larger_one_needed() -> None:
    whole = [(900, 1, False), (900, 2, True)]
    assert tried(LOST) == [*whole, (500, 2, True), (100, 2, False), (100, 4, False)]


def test_where_everything_keeps_the_bound_each_vocabulary_is_tried_once() -> None:
    found = tried(dict.fromkeys(LOST, 0.0))
    assert found == [(tokens, 1, True) for tokens in (900, 500, 100, 50)]
