import pytest

from fmalloc.corpus import Pair
from fmalloc_export.passes.text import CalibrationText, TextSplit
from fmalloc_shared.errors import FmallocError


def pairs(kind: str, count: int) -> tuple[Pair, ...]:
    return tuple(Pair(f"{kind} {index}", f"{kind} {index} in English") for index in range(count))


def split(samples: int, train: int, dev: int = 0) -> TextSplit:
    text = CalibrationText(pairs("train", train), pairs("dev", dev))
    return TextSplit.of(pairs("sample", samples), text, required=True)


@pytest.mark.parametrize(
    ("found", "held_out", "origin"),
    [
        (split(20, 2000), pairs("sample", 20), "the store's samples"),
        (split(600, 2000), pairs("sample", 600), "the store's samples"),
        (
            split(200, 2000, 1600),
            pairs("sample", 200) + pairs("dev", 1600)[::2],
            "the store's samples and dev of the calibration text",
        ),
        (split(0, 2000, 50), pairs("dev", 50), "dev of the calibration text"),
        (split(0, 2000, 5000), pairs("dev", 5000)[::5], "dev of the calibration text"),
        (split(0, 200, 19), pairs("train", 200)[::10], "a tenth of the calibration text"),
        (split(19, 4000), pairs("train", 4000)[::10], "a tenth of the calibration text"),
        (split(0, 20000), pairs("train", 20000)[::20], "a tenth of the calibration text"),
    ],
)
def test_held_out_are_samples_or_dev_or_a_tenth(found: TextSplit, held_out: tuple[Pair, ...], origin: str) -> None:
    assert (found.held_out, found.origin) == (held_out, origin)
    assert not set(found.calibration) & set(held_out)


def test_samples_are_not_calibrated_on() -> None:
    text = CalibrationText(pairs("train", 30) + pairs("sample", 25))
    assert TextSplit.of(pairs("sample", 25), text, required=True).calibration == pairs("train", 30)


def test_too_little_text_says_how_to_give_more() -> None:
    with pytest.raises(FmallocError, match="calibration text: 19 pairs beside those held out"):
        split(20, 19)
    with pytest.raises(FmallocError) as refused:
        split(3, 199, 9)
    assert "the store has 3 samples of the domain, the calibration text 9 pairs of dev and 199 others" in str(
        refused.value
    )
    assert "a folder with train and dev, or at least 200 pairs" in str(refused.value)
    with pytest.raises(FmallocError, match="expected 20 held-out pairs"):
        TextSplit.of(pairs("sample", 19), None, required=True)


def test_without_a_bound_the_samples_are_taken_however_few() -> None:
    assert TextSplit.of(pairs("sample", 3), None, required=False).held_out == pairs("sample", 3)
