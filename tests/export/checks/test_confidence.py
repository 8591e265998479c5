from pathlib import Path

import numpy as np
import pytest

from fmalloc.corpus import Pair
from fmalloc_export.checks.confidence import (
    FEWEST,
    NEEDS_EDITING,
    Logistic,
    auroc,
    calibrate,
    calibration_error,
    cross_validated,
    described,
)
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.confidence import FEATURES, Estimator, Evidence
from fmalloc_runtime.live.translator import Translation, Translator
from tests.support.bundles import CPU, bundle_of
from tests.support.estimates import confidence

REFERENCE = "the small dog sees the old castle in the evening"
OTHER = "nobody would ever write anything like this, here!"[-len(REFERENCE) :]


@pytest.fixture
def evidence(bundles: Path) -> Evidence:
    bundle = Bundle.open(bundle_of(bundles, "it"))
    return Evidence(bundle.routing(), Translator.load(bundle, CPU).tokenizer)


def drawn(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first two matter, and labels drawn by what they say."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(size, 3)) * [1.0, 5.0, 1.0] + [0.0, 20.0, 0.0]
    logits = 0.5 - 2.0 * features[:, 0] + 0.3 * (features[:, 1] - 20)
    return features, (random.random(size) < 1 / (1 + np.exp(-logits))).astype(np.float64)


def test_the_regression_finds_the_weights_that_made_the_labels() -> None:
    fitted = Logistic.fit(*drawn(20_000))
    assert fitted.weights == pytest.approx([-2.0, 0.3, 0.0], abs=0.08)
    assert fitted.intercept == pytest.approx(0.5 - 0.3 * 20, abs=0.5)


def test_a_feature_that_never_changes_has_no_weight() -> None:
    features, labels = drawn(500)
    features[:, 2] = 7.0
    assert Logistic.fit(features, labels).weights[2] == 0


def test_a_feature_that_hardly_varies_has_no_huge_weight() -> None:
    labels = (np.arange(100) % 2).astype(np.float64)
    assert abs(Logistic.fit(1e-6 * labels[:, None], labels).weights[0]) < 1


def test_labels_that_are_told_apart_for_certain_give_finite_weights() -> None:
    features = np.arange(40.0)[:, None]
    fitted = Logistic.fit(features, (features[:, 0] >= 20).astype(np.float64))
    assert np.isfinite(fitted.weights).all() and fitted.weights[0] > 0


def test_auroc_counts_pairs_in_order_and_ties_half() -> None:
    estimates, labels = np.array([0.1, 0.4, 0.4, 0.8, 0.9, 0.2]), np.array([0, 0, 1, 1, 0, 1])
    pairs = [(wrong, right) for wrong in estimates[labels == 1] for right in estimates[labels == 0]]
    expected = sum((wrong > right) + (wrong == right) / 2 for wrong, right in pairs) / len(pairs)
    assert auroc(estimates, labels) == pytest.approx(expected)


def test_the_calibration_error_is_the_weighted_gap_per_bin() -> None:
    estimates = np.array([0.05, 0.05, 0.05, 0.05, 0.95, 0.95, 1.0])
    labels = np.array([0, 0, 0, 1, 1, 1, 0])
    assert calibration_error(estimates, labels) == pytest.approx((abs(4 * 0.05 - 1) + abs(2.9 - 2)) / 7)


def test_cross_validation_never_tells_a_sentence_its_own_label() -> None:
    """Of labels that nothing tells, it finds nothing, which a fit to the same labels would."""
    random = np.random.default_rng(3)
    features, labels = random.normal(size=(60, 5)), (np.arange(60) % 2).astype(np.float64)
    assert auroc(Logistic.fit(features, labels).predict(features), labels) > 0.6
    assert auroc(cross_validated(features, labels), labels) < 0.6


def told(size: int, wrong: int) -> tuple[list[Pair], list[Translation]]:
    """Translations of which `wrong` are not the reference, mostly those that the model found unlikely."""
    random = np.random.default_rng(5)
    bad = (random.permutation(size) < wrong).tolist()
    pairs = [Pair(f"Satz {index} mit Wort", REFERENCE) for index in range(size)]
    odd = set(random.choice(size, size // 7, replace=False).tolist())
    scores = [-1.5 if one != (index in odd) else -0.3 for index, one in enumerate(bad)]
    texts = [OTHER if one else REFERENCE for one in bad]
    return pairs, [Translation(text, score) for text, score in zip(texts, scores, strict=True)]


def test_an_estimate_is_fitted_and_told_with_its_reliability(evidence: Evidence) -> None:
    pairs, translations = told(100, 40)
    found = calibrate(pairs, translations, evidence)
    assert found is not None
    assert (found.below, found.pairs, found.share) == (NEEDS_EDITING, 100, 0.4)
    assert found.estimate.auroc > 0.75 and found.estimate.calibration_error < 0.2
    assert found.plain.calibration_error > found.estimate.calibration_error
    assert found.weights.log_probability < 0
    estimator = Estimator(found, evidence)
    likely, unlikely = (estimator.needs_editing(pairs[0].source, REFERENCE, score) for score in (-0.3, -1.5))
    assert likely < 0.5 < unlikely
    assert calibrate(pairs, translations, evidence) == found


@pytest.mark.parametrize(("wrong", "used"), [(5, 1), (19, 1), (20, 2), (60, 5)])
def test_each_feature_needs_ten_of_the_rarer_kind(evidence: Evidence, wrong: int, used: int) -> None:
    pairs, translations = told(200, wrong)
    found = calibrate(pairs, translations, evidence)
    assert found is not None
    weights = found.weights.model_dump()
    assert all(weights[name] == 0 for name in FEATURES[used:])


@pytest.mark.parametrize("wrong", [0, FEWEST - 1, 100 - FEWEST + 1, 100])
def test_too_few_of_either_kind_tell_nothing(evidence: Evidence, wrong: int) -> None:
    assert calibrate(*told(100, wrong), evidence) is None


def test_blank_translations_and_no_pairs_at_all(evidence: Evidence) -> None:
    assert calibrate([], [], evidence) is None
    pairs, translations = told(100, 40)
    found = calibrate([*pairs, Pair(" ", REFERENCE)], [*translations, Translation(" ", None)], evidence)
    assert found == calibrate(pairs, translations, evidence)


def test_it_is_told_in_words(bundles: Path) -> None:
    manifest = Bundle.open(bundle_of(bundles, "it")).manifest
    assert described(manifest).startswith("no estimate of what needs editing: of 0 held-out pairs")
    words = described(manifest.model_copy(update={"confidence": confidence()}))
    assert "chrF below 50: 50% of 40 held-out pairs" in words and "AUROC 0.750, calibration error 0.050" in words
