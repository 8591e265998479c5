"""The gate's criteria: each lets through what it should, and stops what it should."""

from collections.abc import Sequence

import pytest

from fmalloc.corpus import Pair
from fmalloc.evaluation.significance import sign_test
from fmalloc.lifecycle.corrections.gate import (
    Compared,
    Criterion,
    Translate,
    Verdict,
    dev_criterion,
    held_out_criterion,
    learned_criterion,
    others_criterion,
)

TEXT = [Pair(f"Zeile {n}", f"this is the long and plain line number {n} of a text") for n in range(40)]


def wrong_in(places: Sequence[int], pairs: Sequence[Pair] = TEXT) -> Translate:
    """Translations that are the references, but in these places."""
    table = {pair.source: "something else" if at in places else pair.target for at, pair in enumerate(pairs)}
    return lambda sources: [table[source] for source in sources]


def compared(before: Sequence[int], after: Sequence[int], pairs: Sequence[Pair] = TEXT) -> Compared:
    return Compared(pairs, wrong_in(before, pairs), wrong_in(after, pairs))


@pytest.mark.parametrize(
    ("before", "after", "met"),
    [
        (range(20), range(20), True),
        (range(20), range(5), True),
        (range(20), range(1, 21), True),  # another sentence is wrong: chance
        (range(5), range(25), False),
        (range(0), range(8), False),
    ],
)
def test_dev_text_must_not_be_worse_beyond_chance(before: range, after: range, met: bool) -> None:
    criterion = dev_criterion(compared(before, after))
    assert criterion.met is met
    bleu, chrf = criterion.figures["bleu"], criterion.figures["chrf_before"]
    assert (
        bleu is not None
        and chrf is not None
        and f"→ {bleu:.2f}" in criterion.says
        and f"{chrf:.2f} →" in criterion.says
    )


@pytest.mark.parametrize(
    ("before", "after", "met"),
    [
        (range(10), range(0), True),
        (range(10), range(10), False),  # nothing was learned
        (range(4), range(0), True),
        (range(4), range(4, 8), False),  # as many are right, as many nearer as farther
        (range(4), range(4, 9), False),
        (range(20), range(15, 21), True),
    ],
)
def test_learned_corrections_must_be_nearer_and_right(before: range, after: range, met: bool) -> None:
    criterion = learned_criterion(compared(before, after))
    assert criterion.met is met
    assert criterion.figures["right"] == 40 - len(after) and criterion.figures["right_before"] == 40 - len(before)


@pytest.mark.parametrize(
    ("before", "after", "met"),
    [
        (range(10), range(10), True),
        (range(10), range(0), True),
        (range(2), range(2, 4), True),
        (range(0), range(5), False),
    ],
)
def test_held_out_corrections_must_not_be_farther(before: range, after: range, met: bool) -> None:
    assert held_out_criterion(compared(before, after)).met is met


def test_learned_corrections_may_be_nearer_without_being_right() -> None:
    longer = [pair._replace(target=f"{pair.target} and more") for pair in TEXT]
    far, near = wrong_in(range(40)), wrong_in([], longer)
    assert learned_criterion(Compared(TEXT, far, near)).met
    assert not learned_criterion(Compared(TEXT, near, far)).met


def test_many_that_are_nearer_outweigh_one_that_is_no_longer_right() -> None:
    far, almost = "something else", {pair.source: f"{pair.target} or so" for pair in TEXT}
    right = TEXT[0].target

    def before(sources: Sequence[str]) -> list[str]:
        return [right if source == TEXT[0].source else far for source in sources]

    criterion = learned_criterion(Compared(TEXT, before, lambda sources: [almost[source] for source in sources]))
    assert criterion.met
    assert (criterion.figures["right_before"], criterion.figures["right"]) == (1, 0)
    assert (criterion.figures["nearer"], criterion.figures["farther"]) == (39, 1)


def test_without_held_out_corrections_nothing_is_judged() -> None:
    assert held_out_criterion(Compared([], wrong_in([]), wrong_in([]))).met


def test_every_file_that_was_there_must_be_the_same() -> None:
    assert others_criterion({"a": "1"}, {"a": "1", "tasks/it@2/task.json": "2"}).met
    changed = others_criterion({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2"})
    assert not changed.met and changed.says == "changed: b, c" and changed.figures == {"files": 3, "changed": 2}


def test_a_version_passes_if_every_criterion_is_met() -> None:
    good, bad = (Criterion(name="x", met=met, says="") for met in (True, False))
    for criteria, passed in (([good, good], True), ([good, bad], False)):
        verdict = Verdict(
            domain="it",
            current="it",
            candidate="it@2",
            criteria=criteria,
            learned=1,
            held_out=1,
            refused={},
            seconds={},
        )
        assert verdict.passed is passed
        assert Verdict.parse(verdict.to_bytes(), "it") == verdict


def test_the_sign_test_is_the_binomial_one() -> None:
    assert sign_test(0, 0) == 1 and sign_test(5, 0) == 1 / 32 and sign_test(0, 5) == 1
    assert sign_test(8, 2) == pytest.approx((45 + 10 + 1) / 1024)
    assert sign_test(600, 500) < 0.01
