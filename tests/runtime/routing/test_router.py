"""Routing: who is chosen and why; decisions come from additive counts alone."""

import subprocess
import sys

import numpy as np
import pytest

from fmalloc_runtime.errors import UnknownDomainError
from fmalloc_runtime.routing.router import Router, evidence_table
from fmalloc_shared.ngrams import BUCKETS, NgramCounts
from tests.support.bundles import SENTENCES
from tests.support.killing import environment

COUNTS = {domain: NgramCounts.of(lines) for domain, lines in SENTENCES.items()}
NAMES = {domain: f"{domain}@0123456789ab" for domain in COUNTS}
ROUTER = Router(COUNTS, NAMES)
NEW = {
    "it": ["Speichern Sie die Datei im Verzeichnis.", "Der Drucker wird vom Server nicht erkannt."],
    "kitchen": ["Zwiebeln und Butter in den Ofen geben.", "Die Sauce mit Zucker und Salz kochen."],
    "general": ["Der Zug fuhr am Montag in die Stadt.", "Meine Kinder wohnen am Meer."],
}


def together(*parts: NgramCounts) -> NgramCounts:
    dense = np.sum([part.dense() for part in parts], axis=0)
    present = np.flatnonzero(dense).astype(np.uint32)
    return NgramCounts(sum(part.sentences for part in parts), present, dense[present].astype(np.uint32))


@pytest.mark.parametrize("domain", list(NEW))
def test_new_text_goes_to_its_domain(domain: str) -> None:
    route = ROUTER.route(NEW[domain])
    assert (route.domain, route.reason, route.bundle) == (domain, "detected", NAMES[domain])
    assert route.score == route.scores[domain] == max(route.scores.values())
    assert sum(route.scores.values()) == pytest.approx(1)
    assert sorted(route.scores) == sorted(COUNTS)


def test_a_domain_asked_for_wins_and_still_carries_scores() -> None:
    route = ROUTER.route(NEW["it"], "kitchen")
    assert (route.domain, route.reason) == ("kitchen", "asked for")
    assert route.score == route.scores["kitchen"] < route.scores["it"]


@pytest.mark.parametrize("name", ["law", "", "../it", "IT", "auto ", "x" * 10_000])
def test_unknown_domains_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownDomainError, match="use auto or one of general, it, kitchen") as error:
        ROUTER.route(NEW["it"], name)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("lines", [[], [""], ["  ", "\t"]])
def test_no_text_is_general(lines: list[str]) -> None:
    route = ROUTER.route(lines)
    assert (route.domain, route.reason) == ("general", "no text")
    assert route.score == pytest.approx(1 / 3)


@pytest.mark.parametrize("line", ["东京", "\0\0", "xq", "\ud800", "12345"])
def test_text_that_says_nothing_is_general(line: str) -> None:
    route = ROUTER.route([line])
    assert route.domain == "general"
    assert route.reason.startswith("unsure: best is ") and route.reason.endswith(", threshold 0.60 by default")


def test_without_general_the_best_domain_is_taken() -> None:
    two = {domain: COUNTS[domain] for domain in ("it", "kitchen")}
    assert Router(two, NAMES).route(NEW["kitchen"]).reason == "detected"
    unsure = Router(two, NAMES).route(["东京"])
    assert unsure.reason == "unsure: best is it with 0.50, threshold 0.60 by default, and no general is served"
    alone = Router({"it": COUNTS["it"]}, NAMES).route(NEW["kitchen"])
    assert (alone.domain, alone.score, alone.reason) == ("it", 1.0, "the only domain served")


def test_a_whole_document_is_more_certain_than_its_lines() -> None:
    lines = [line for pair in zip(NEW["it"], NEW["it"], strict=True) for line in pair]
    scores = [ROUTER.route([line]).scores["it"] for line in lines]
    assert ROUTER.route(lines).scores["it"] >= max(scores)
    mixed = [*NEW["it"], *NEW["it"], NEW["kitchen"][0]]
    assert ROUTER.route(mixed).domain == "it"


def test_order_and_blank_lines_do_not_matter() -> None:
    lines = [line for lines in NEW.values() for line in lines]
    forwards, backwards = ROUTER.route(lines).scores, ROUTER.route([*lines[::-1], "", " "]).scores
    assert forwards == pytest.approx(backwards)


def test_learning_and_freeing_is_adding_and_taking_away() -> None:
    """Counts of two halves add to the counts of the whole, and the router cannot tell the difference."""
    half = len(SENTENCES["it"]) // 2
    first, second = NgramCounts.of(SENTENCES["it"][:half]), NgramCounts.of(SENTENCES["it"][half:])
    merged = together(first, second)
    assert merged.sentences == COUNTS["it"].sentences
    assert np.array_equal(merged.dense(), COUNTS["it"].dense())
    assert np.array_equal(merged.dense() - second.dense(), first.dense())
    again = Router(COUNTS | {"it": merged}, NAMES)
    for lines in NEW.values():
        assert again.route(lines) == ROUTER.route(lines)


def test_a_domain_that_came_and_went_leaves_no_trace() -> None:
    without = {domain: counts for domain, counts in COUNTS.items() if domain != "kitchen"}
    before = Router(without, NAMES).route(NEW["it"])
    assert Router(COUNTS, NAMES).route(NEW["it"]) != before
    assert Router(without, NAMES).route(NEW["it"]) == before


def test_a_larger_general_corpus_does_not_swallow_small_domains() -> None:
    """General text ten times as large that holds domain words now and then: domains stay where they were."""
    large = together(*[COUNTS["general"]] * 20, COUNTS["it"], COUNTS["kitchen"])
    router = Router(COUNTS | {"general": large}, NAMES)
    for domain, lines in NEW.items():
        assert router.route(lines).domain == domain


def test_the_table_is_centred_and_knows_nothing_of_unseen_buckets() -> None:
    table = evidence_table(list(COUNTS.values()))
    assert table.shape == (BUCKETS, 3) and table.dtype == np.float32
    assert np.abs(table.mean(axis=1)).max() < 1e-6
    unseen = ~np.any([counts.dense() for counts in COUNTS.values()], axis=0)
    assert unseen.any() and not table[unseen].any()


def test_empty_counts_are_a_domain_like_any_other() -> None:
    nothing = NgramCounts.of([])
    route = Router(COUNTS | {"empty": nothing}, NAMES | {"empty": "empty@0123456789ab"}).route(NEW["it"])
    assert route.domain == "it" and np.isfinite(list(route.scores.values())).all()


def test_huge_documents_are_bounded() -> None:
    lines = NEW["it"] * 20_000
    route = ROUTER.route(lines)
    assert route.domain == "it"
    assert ROUTER.route(["Der Server " * 200_000]).domain == "it"


def test_one_long_line_counts_as_many_and_all_of_it_counts() -> None:
    """Text without line breaks is not judged by how it begins."""
    begins = " ".join(SENTENCES["it"])
    rest = " ".join(SENTENCES["kitchen"] * 6)
    assert ROUTER.route([f"{begins} {rest}"]).domain == "kitchen"
    assert ROUTER.route([f"{rest} {begins}"]).domain == "kitchen"
    assert ROUTER.route([begins]).domain == "it"


def test_too_many_lines_are_taken_from_all_of_them() -> None:
    lines = [*SENTENCES["it"] * 100, *SENTENCES["kitchen"] * 300]
    assert ROUTER.route(lines).domain == ROUTER.route(lines[::-1]).domain == "kitchen"


def test_the_reason_names_the_threshold_and_where_it_is_from() -> None:
    strict = Router(COUNTS, NAMES, 0.999999, "by routing.json")
    route = strict.route(["Der Server am Montag"])
    assert (route.domain, strict.threshold) == ("general", 0.999999)
    assert route.reason.startswith("unsure: best is ") and route.reason.endswith(", threshold 1.00 by routing.json")
    assert Router(COUNTS, NAMES, 0.0).route(["东京"]).reason == "detected"


def test_scores_are_the_same_to_the_last_bit_in_every_process() -> None:
    """Python orders sets of strings differently in each; sums must not depend on it."""
    code = (
        "import sys; from fmalloc_runtime.routing.router import Router; from fmalloc_shared.ngrams import NgramCounts\n"
        "counts = {line[:2].lower(): NgramCounts.of([line]) for line in sys.argv[1:]}\n"
        "print([Router(counts, dict.fromkeys(counts, 'x')).route([line]).scores for line in sys.argv[1:]])"
    )
    lines = [lines[0] for lines in SENTENCES.values()]
    found = {
        subprocess.check_output([sys.executable, "-c", code, *lines], env=environment(PYTHONHASHSEED=seed), text=True)
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1 and "'am': 0." in found.pop()
