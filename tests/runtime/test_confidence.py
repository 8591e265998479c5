import math
from pathlib import Path

import pytest

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.confidence import FEATURES, Estimator, Evidence
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.ngrams import NgramCounts
from tests.support.bundles import CPU, SENTENCES, bundle_of
from tests.support.estimates import confidence, write_judged_bundle

SEEN = ["der Vertrag tritt in Kraft"]


@pytest.fixture
def evidence(well_read: Translator) -> Evidence:
    return Evidence(NgramCounts.of(SEEN), well_read.tokenizer)


def test_the_features_of_a_sentence(evidence: Evidence) -> None:
    found = dict(zip(FEATURES, evidence.of("Der Vertrag der Katze", "the cat's", -0.5), strict=True))
    assert found["log_probability"] == -0.5
    assert found["coverage"] == pytest.approx(2 / 3), "of der, Vertrag and Katze the domain's text has two"
    assert found["length"] == pytest.approx(math.log(21))
    assert found["ratio"] == pytest.approx(math.log(21 / 9))
    assert found["unknown"] == 0


def test_unknown_signs_are_counted_but_no_spaces(evidence: Evidence) -> None:
    (*_, unknown) = evidence.of("Я 😀ab", "ab", -1.0)
    assert unknown == pytest.approx(2 / 5)


def test_too_long_and_too_short_are_alike(evidence: Evidence) -> None:
    short, long = (evidence.of("a" * 20, "b" * size, -1.0) for size in (10, 40))
    assert short == pytest.approx(long)


def test_the_estimate_is_the_logistic_function_of_the_weighted_features(evidence: Evidence) -> None:
    fitted = confidence(intercept=0.25, log_probability=-2.0, ratio=3.0)
    expected = 1 / (1 + math.exp(-(0.25 + 2.0 * 0.4 + 3.0 * math.log(2))))
    found = Estimator(fitted, evidence).needs_editing("a" * 20, "b" * 10, -0.4)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_weights_that_a_bundle_may_have_give_a_probability(evidence: Evidence, sign: int) -> None:
    fitted = confidence(intercept=sign * 1e6, log_probability=-sign * 1e6)
    found = Estimator(fitted, evidence).needs_editing("a", "b", -1e6)
    assert found == pytest.approx((1 + sign) / 2)


def test_a_weight_beyond_all_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 1000000"):
        confidence(intercept=1e7)


def test_each_sentence_is_told_by_its_own_translation(tmp_path: Path) -> None:
    path = write_judged_bundle(tmp_path, "it", intercept=-1.0, log_probability=-0.7, length=0.1)
    translator = Translator.load(Bundle.open(path), CPU)
    text = " ".join(SENTENCES["it"][:2])
    (found,) = translator.translate_texts([text], TextOptions())
    assert len(found.sentences) == 2
    for sentence in found.sentences:
        logit = -1.0 - 0.7 * sentence.score + 0.1 * math.log(len(sentence.source))
        assert sentence.needs_editing == pytest.approx(1 / (1 + math.exp(-logit)))
    assert found.needs_editing == max(sentence.needs_editing or 0 for sentence in found.sentences)


def test_a_bundle_without_an_estimate_gives_none(bundles: Path) -> None:
    translator = Translator.load(Bundle.open(bundle_of(bundles, "it")), CPU)
    assert translator.bundle.manifest.confidence is None
    (found,) = translator.translate_texts([SENTENCES["it"][0]], TextOptions())
    assert found.needs_editing is None


def test_a_damaged_estimate_is_refused(tmp_path: Path) -> None:
    path = write_judged_bundle(tmp_path, "it")
    manifest = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(manifest.replace('"coverage": 0.0', '"coverage": "much"'))
    with pytest.raises(FmallocError, match="coverage"):
        Bundle.read(path)


def test_a_manifest_without_an_estimate_has_no_key_for_it(bundles: Path) -> None:
    assert b"confidence" not in (bundle_of(bundles, "it") / "manifest.json").read_bytes()
