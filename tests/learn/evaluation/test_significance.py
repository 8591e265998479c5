"""Intervals and tests agree with sacreBLEU's own, and with what a difference must be."""

import random

import numpy as np
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest

from fmalloc.evaluation.significance import METRICS, MetricName, Statistics, difference, signature
from fmalloc_shared.errors import FmallocError

CLASSES = {"bleu": sacrebleu.BLEU, "chrf": sacrebleu.CHRF}


def sentences(count: int, kept: float, seed: int) -> tuple[list[str], list[str]]:
    """References of a hundred different words, and translations that have a share of them."""
    source, noise = random.Random(1), random.Random(seed)
    references = [" ".join(source.choices([f"word{i}" for i in range(100)], k=12)) for _ in range(count)]
    translations = [
        " ".join(word if noise.random() < kept else "other" for word in reference.split()) for reference in references
    ]
    return translations, references


@pytest.mark.parametrize("metric", METRICS)
def test_score_interval_and_signature_are_sacrebleus(metric: MetricName, monkeypatch: pytest.MonkeyPatch) -> None:
    translations, references = sentences(80, 0.7, seed=2)
    theirs = CLASSES[metric]()
    expected = theirs.corpus_score(translations, [references], n_bootstrap=1000)
    monkeypatch.setenv("SACREBLEU_SEED", "7")  # must not matter
    found = Statistics.of(metric, translations, references)
    low, high = found.interval()
    assert found.score() == expected.score
    assert low < found.score() < high
    assert (high - low) / 2 == pytest.approx(expected._ci, rel=1e-5)
    assert signature(metric, resampled=True) == str(theirs.get_signature())
    assert found.interval() == [low, high]


def test_the_p_value_is_that_of_sacrebleus_paired_bootstrap() -> None:
    (ours, references), (theirs, _) = sentences(60, 0.72, seed=2), sentences(60, 0.68, seed=3)
    metrics = {name.upper(): kind() for name, kind in CLASSES.items()}
    _, expected = PairedTest([("theirs", theirs), ("ours", ours)], metrics, [references], "bs", n_samples=1000)()
    for metric, name in (("bleu", "BLEU"), ("chrf", "chrF2")):
        statistics = [Statistics.of(metric, texts, references) for texts in (ours, theirs)]
        found = difference(*statistics)
        baseline, system = expected[name]
        assert found.value == pytest.approx(system.score - baseline.score)
        assert found.p_value == pytest.approx(system.p_value, abs=0.003)  # theirs sums in single precision
        assert found.interval[0] < found.value < found.interval[1]
        back = difference(*statistics[::-1])
        assert (back.value, back.p_value) == (-found.value, found.p_value)
        assert back.interval == pytest.approx([-bound for bound in found.interval[::-1]])


def test_a_clear_difference_is_sure_and_none_is_not() -> None:
    (good, references), (bad, _) = sentences(60, 0.9, seed=2), sentences(60, 0.3, seed=3)
    first, second = (Statistics.of("chrf", texts, references) for texts in (good, bad))
    clear = difference(first, second)
    assert clear.p_value < 0.002 and clear.interval[0] > 0
    same = difference(first, first)
    assert (same.value, same.interval, same.p_value) == (0.0, [0.0, 0.0], 1.0)


def test_what_cannot_be_scored_or_compared() -> None:
    with pytest.raises(FmallocError, match="no sentence"):
        Statistics.of("bleu", [], [])
    with pytest.raises(FmallocError, match="2 translations and 1 references"):
        Statistics.of("bleu", ["a", "b"], ["a"])
    one, two = Statistics.of("bleu", ["a"], ["a"]), Statistics.of("bleu", ["a", "b"], ["a", "b"])
    with pytest.raises(FmallocError, match="same test set"):
        difference(one, two)
    with pytest.raises(FmallocError, match="same test set"):
        difference(one, Statistics.of("chrf", ["a"], ["a"]))


def test_counts_of_a_sentence_add_up() -> None:
    translations, references = sentences(10, 0.7, seed=2)
    whole = Statistics.of("chrf", translations, references)
    parts = [Statistics.of("chrf", translations[a:b], references[a:b]).counts for a, b in ((0, 4), (4, 10))]
    assert np.array_equal(whole.counts, np.concatenate(parts))
