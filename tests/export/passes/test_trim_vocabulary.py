from dataclasses import replace

import numpy as np

from fmalloc_export.passes.trim_vocabulary import TrimVocabulary
from tests.support.calibrated import stack_of


def trimming(used: list[int], safety: list[int]) -> TrimVocabulary:
    counts = np.arange(20, dtype=np.int64)
    return TrimVocabulary(np.array(used), np.array(safety), counts)


def test_it_keeps_what_the_text_uses_and_the_safety_set() -> None:
    before = stack_of(3)
    after, report = trimming([19, 4, 7], [0, 1, 4]).apply(before)
    after.verify()
    assert after.target_tokens.tolist() == [0, 1, 4, 7, 19]
    assert after.feed_forward is before.feed_forward
    share = (0 + 1 + 4 + 7 + 19) / 190
    assert report == (
        "kept 5 of 20 target tokens (3 of the domain's text, 2 for safety); "
        f"they cover {share:.2%} of held-out target tokens"
    )


def test_it_brings_nothing_back() -> None:
    before = replace(stack_of(3), target_tokens=np.arange(0, 20, 2))
    after, _ = trimming([2, 3, 4], [5]).apply(before)
    assert after.target_tokens.tolist() == [2, 4]


def test_it_does_not_apply_where_it_would_hardly_help() -> None:
    before = stack_of(3)
    nearly_all = trimming(list(range(1, 20)), [])
    after, report = nearly_all.apply(before)
    assert after is before
    assert report == nearly_all.explain(before)
    assert report.startswith("does not apply: the domain needs 19 of 20 target tokens")
    assert trimming([1], []).explain(before).startswith("would keep 1 of 20 target tokens")


def test_without_held_out_text_it_says_so() -> None:
    empty = replace(trimming([1], []), counts=np.zeros(20, dtype=np.int64))
    assert empty.apply(stack_of(3))[1].endswith("they cover no held-out target tokens")
