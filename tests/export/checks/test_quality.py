import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

from fmalloc.corpus import Pair, digest
from fmalloc.evaluation.significance import MetricName
from fmalloc_export.checks.quality import QualityCheck, drop, exceeds, refusal, warning
from fmalloc_export.options import Options
from fmalloc_runtime.bundle.bundle import Drop, Quality
from fmalloc_runtime.live.translator import Translation

REFERENCES = [f"the small dog number {index} sees the old castle in the evening" for index in range(40)]


def worse(share: float) -> list[str]:
    """References, of which some have lost words."""
    return [
        line if index % 10 >= 10 * share else line.replace("old castle ", "") for index, line in enumerate(REFERENCES)
    ]


def said(lines: list[str]) -> list[Translation]:
    return [Translation(line, -1.0) for line in lines]


@pytest.mark.parametrize(("metric", "of_sacrebleu"), [("bleu", BLEU), ("chrf", CHRF)])
def test_the_drop_is_the_difference_of_sacrebleus_corpus_scores(metric: MetricName, of_sacrebleu: type) -> None:
    before, after = worse(0.1), worse(0.5)
    found = drop(metric, before, after, REFERENCES)
    scores = [of_sacrebleu().corpus_score(side, [REFERENCES]).score for side in (before, after)]
    assert found.value == pytest.approx(scores[0] - scores[1], abs=0.006)
    assert 0 < found.low < found.value < found.high
    assert drop(metric, before, after, REFERENCES) == found
    turned = drop(metric, after, before, REFERENCES)
    assert (turned.value, turned.low, turned.high) == (-found.value, -found.high, -found.low)


def test_equal_translations_lose_nothing_for_certain() -> None:
    found = drop("bleu", worse(0.3), worse(0.3), REFERENCES)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_the_interval_is_that_of_a_paired_bootstrap() -> None:
    """Of two sides that differ alike in every sentence it is narrow, though each side's own interval is wide."""
    lengths = np.random.default_rng(0).integers(1, 6, size=40)
    references = [" ".join(["word"] * 4 * count + ["end"] * count) for count in lengths]
    before = [line.replace("end", "End", 1) for line in references]
    after = [line.replace("end", "End") for line in references]
    found = drop("bleu", before, after, references)
    assert found.high - found.low < found.value


def test_scores_of_held_out_pairs_are_compared() -> None:
    pairs = tuple(Pair(f"Satz {index}", reference) for index, reference in enumerate(REFERENCES))
    quality = QualityCheck(pairs, tuple(said(worse(0.1)))).compare(said(worse(0.4)), 0.3)
    assert quality.pairs == 40
    assert quality.held_out == digest(pairs)
    assert (quality.bound, quality.allowed) == (0.3, False)
    assert quality.bleu_before == round(sacrebleu.corpus_bleu(worse(0.1), [REFERENCES]).score, 2)
    assert quality.bleu_after == round(sacrebleu.corpus_bleu(worse(0.4), [REFERENCES]).score, 2)
    assert quality.bleu_drop.value == pytest.approx(quality.bleu_before - quality.bleu_after, abs=0.011)
    assert quality.chrf_drop.value > 0
    assert quality.signature.startswith("BLEU|nrefs:1|bs:1000|seed:12345|")
    assert " chrF|nrefs:1|bs:1000|seed:12345|" in quality.signature


def measured(bleu: tuple[float, float, float], chrf: tuple[float, float, float], bound: float | None) -> Quality:
    """A record whose drops are (value, low, high)."""
    pairs = tuple(Pair("Satz", reference) for reference in REFERENCES)
    drops = [Drop(value=value, low=low, high=high) for value, low, high in (bleu, chrf)]
    quality = QualityCheck(pairs, tuple(said(REFERENCES))).compare(said(REFERENCES), bound)
    return quality.model_copy(update={"bleu_drop": drops[0], "chrf_drop": drops[1]})


NONE = (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("quality", "too_much", "said"),
    [
        (measured((0.31, 0.0, 0.5), NONE, 0.3), True, "published although it loses 0.31 BLEU"),
        (measured(NONE, (0.31, 0.0, 0.5), 0.3), True, "published although it loses 0.00 BLEU"),
        (measured((0.3, 0.1, 0.31), NONE, 0.3), False, "within the bound of 0.3, but a 95 % interval reaches above it"),
        (measured(NONE, (0.1, 0.1, 0.31), 0.3), False, "within the bound of 0.3, but a 95 % interval reaches above it"),
        (measured((0.3, 0.1, 0.3), (-0.2, -0.4, 0.3), 0.3), False, None),
        (measured((9.0, 8.0, 9.5), NONE, None), False, None),
    ],
)
def test_the_bound_holds_for_both_metrics_and_an_interval_above_it_is_told(
    quality: Quality, too_much: bool, said: str | None
) -> None:
    assert exceeds(quality) is too_much
    found = warning(quality)
    assert found is None if said is None else found is not None and said in found


def test_a_refusal_has_the_figures_and_what_may_help() -> None:
    quality = measured((1.25, 0.5, 2.0), (0.1, -0.4, 0.6), 0.3)
    found = refusal(quality, Options(quantization="int8", level="O2", keep=0.5, vocabulary=900))
    assert found.startswith(
        "-O2 int8 loses 1.25 BLEU [0.50 to 2.00] and 0.10 chrF [-0.40 to 0.60] (95 % intervals, 40 held-out pairs): "
        "more than the bound of 0.3, so it is not published. What may help: a larger --keep or none; a larger "
        "--vocabulary or none; another --quantization than int8; more --calibration text; -O1. "
    )
    assert "--keep" not in refusal(quality, Options(level="O1"))
    assert "What may help" not in refusal(quality, Options(max_quality_drop=0.3))
