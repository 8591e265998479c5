"""Several texts are read in the shares that their weights ask for."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fmalloc.cache.cache import NOTHING_KEPT
from fmalloc.model.text.batches import Example, Examples
from fmalloc.pretraining.texts import Concatenated, MixedBatches, Text, Texts
from fmalloc_shared.errors import FmallocError
from tests.support.corpora import LANGUAGES

SIZES = (300, 40, 60)


def examples(number: int) -> Examples:
    """Each target begins with the number of its text and its own."""
    sources = [[2] * (1 + index % 7) for index in range(SIZES[number])]
    targets = [[10 + number, 100 + index, 0] for index in range(SIZES[number])]
    arrays = []
    for rows in (sources, targets):
        starts = np.cumsum([0, *map(len, rows)])
        arrays.append((np.array([token for row in rows for token in row], np.int32), starts))
    return Examples.of(arrays, 100)


def mixed(weights: tuple[float, ...]) -> MixedBatches:
    return MixedBatches([examples(number) for number in range(3)], weights, 60, 0, 1)


def read(batches: MixedBatches, epochs: int) -> list[Counter[tuple[int, int]]]:
    """How often each example was read, by epoch."""
    found = []
    update = 0
    for _ in range(epochs):
        counts = Counter[tuple[int, int]]()
        while counts.total() < sum(SIZES):
            target = batches.batch(update).target
            counts.update((int(row[0]) - 10, int(row[1]) - 100) for row in target)
            update += 1
        assert counts.total() == sum(SIZES)
        found.append(counts)
    return found


def test_every_text_has_its_share() -> None:
    for epoch in read(mixed((2.0, 1.0, 1.0)), 3):
        by_text = Counter(dict.fromkeys(range(3), 0))
        for (number, _), count in epoch.items():
            by_text[number] += count
        assert by_text == {0: 200, 1: 100, 2: 100}


def test_pairs_of_a_text_are_read_equally_often() -> None:
    total = sum(read(mixed((2.0, 1.0, 1.0)), 6), Counter[tuple[int, int]]())
    for number, (size, drawn) in enumerate(zip(SIZES, (200, 100, 100), strict=True)):
        counts = [total[number, index] for index in range(size)]
        assert sum(counts) == 6 * drawn
        assert max(counts) - min(counts) <= 1


def test_a_batch_is_the_same_whatever_came_before() -> None:
    straight, resumed = mixed((2.0, 1.0, 1.0)), mixed((2.0, 1.0, 1.0))
    expected = [straight.batch(update).target for update in range(70)]
    assert torch.equal(resumed.batch(69).target, expected[69])
    assert torch.equal(resumed.batch(3).target, expected[3])


def test_concatenated_sequences_are_one() -> None:
    found = Concatenated([[1, 2], [], [3], [4, 5]])
    assert list(found) == [1, 2, 3, 4, 5] == [found[index] for index in range(5)]
    assert (found[-1], found[1:4], len(found)) == (5, [2, 3, 4], 5)
    with pytest.raises(IndexError):
        found[5]
    part = examples(1)
    assert Concatenated([part, part])[SIZES[1] + 2] == Example([2] * 3, [11, 102, 0])


def test_a_weight_is_behind_the_last_equals_sign(tmp_path: Path) -> None:
    assert Text.of("a=b/c=2.5") == Text(Path("a=b/c"), 2.5)
    assert Text.of("news.tsv") == Text(Path("news.tsv"))
    (tmp_path / "a=1").touch()
    assert Text.of(f"{tmp_path}/a=1") == Text(tmp_path / "a=1")
    for wrong in ("a=", "a=b", "a=0", "a=-1", "a=inf", "a=nan", "=3"):
        with pytest.raises(FmallocError, match="expected PATH or PATH=WEIGHT"):
            Text.of(wrong)


def test_all_have_weights_or_none(corpora: Path) -> None:
    with pytest.raises(FmallocError, match="every text a weight"):
        Texts.read([Text(corpora / "general", 1.0), Text(corpora / "office")], LANGUAGES, NOTHING_KEPT)


def test_dev_is_that_of_all_texts(corpora: Path) -> None:
    texts = Texts.read([Text(corpora / "general"), Text(corpora / "office")], LANGUAGES, NOTHING_KEPT)
    general, office = (corpus.dev for corpus in texts.corpora)
    assert texts.dev == general + office
    assert texts.dev_sample(6) == general[:3] + office[:3]
    assert texts.dev_sample(0) == ()
    assert len(texts.train) == sum(len(corpus.train) for corpus in texts.corpora)
