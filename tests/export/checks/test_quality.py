import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

from fmalloc.corpus import Pair
from fmalloc_export.checks.quality import QualityCheck, drop, smallest_share

REFERENCES = [f"the small dog number {index} sees the old castle in the evening" for index in range(40)]


def worse(share: float) -> list[str]:
    """References, of which some have lost words."""
    return [
        line if index % 10 >= 10 * share else line.replace("old castle ", "") for index, line in enumerate(REFERENCES)
    ]


@pytest.mark.parametrize("metric", [BLEU, CHRF])
def test_the_drop_is_the_difference_of_sacrebleus_corpus_scores(metric: type) -> None:
    before, after = worse(0.1), worse(0.5)
    found = drop(metric(), before, after, REFERENCES)
    scores = [metric().corpus_score(side, [REFERENCES]).score for side in (before, after)]
    assert found.value == pytest.approx(scores[0] - scores[1], abs=0.006)
    assert 0 < found.low < found.value < found.high
    assert drop(metric(), before, after, REFERENCES) == found
    turned = drop(metric(), after, before, REFERENCES)
    assert (turned.value, turned.low, turned.high) == (-found.value, -found.high, -found.low)


def test_equal_translations_lose_nothing_for_certain() -> None:
    found = drop(BLEU(), worse(0.3), worse(0.3), REFERENCES)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_the_interval_is_that_of_a_paired_bootstrap() -> None:
    """Of two sides that differ alike in every sentence it is narrow, though each side's own interval is wide."""
    lengths = np.random.default_rng(0).integers(1, 6, size=40)
    references = [" ".join(["word"] * 4 * count + ["end"] * count) for count in lengths]
    before = [line.replace("end", "End", 1) for line in references]
    after = [line.replace("end", "End") for line in references]
    found = drop(BLEU(), before, after, references)
    assert found.high - found.low < found.value


def test_scores_of_held_out_pairs_are_compared() -> None:
    pairs = tuple(Pair(f"Satz {index}", reference) for index, reference in enumerate(REFERENCES))
    quality = QualityCheck(pairs, tuple(worse(0.1))).compare(worse(0.4))
    assert quality.pairs == 40
    assert quality.bleu_before == round(sacrebleu.corpus_bleu(worse(0.1), [REFERENCES]).score, 2)
    assert quality.bleu_after == round(sacrebleu.corpus_bleu(worse(0.4), [REFERENCES]).score, 2)
    assert quality.bleu_drop.value == pytest.approx(quality.bleu_before - quality.bleu_after, abs=0.011)
    assert quality.chrf_drop.value > 0
    assert "BLEU|nrefs:1" in quality.signature
    assert "chrF|nrefs:1" in quality.signature


@pytest.mark.parametrize(("limit", "expected"), [(0.0, 1.0), (0.5, 0.5), (0.26, 0.75), (0.93, 0.125), (2.0, 0.0625)])
def test_the_smallest_share_that_loses_no_more_than_allowed(limit: float, expected: float) -> None:
    asked: list[float] = []

    def lost(keep: float) -> float:
        asked.append(keep)
        return 1 - keep

    assert smallest_share(lost, limit) == expected
    assert len(asked) == 4
    assert 1.0 not in asked
