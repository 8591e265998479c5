"""A domain's own text, for the passes that need some: what to calibrate on, what to hold out."""

from collections.abc import Sequence

from fmalloc.corpus import Pair
from fmalloc_export.domain.domain import Domain
from fmalloc_export.passes.calibration import TextCalibration
from fmalloc_export.passes.compact_cells import LossCurves
from fmalloc_export.passes.pipeline import Text
from fmalloc_export.passes.vocabulary_use import trimming
from fmalloc_shared.errors import FmallocError

_HELD_OUT = 200
_FEWEST = 20


def text_of(
    domain: Domain, pairs: Sequence[Pair], samples: Sequence[Pair], vocabulary: int | None = None
) -> tuple[Text, tuple[Pair, ...]]:
    """What passes know of `pairs`, and the pairs that quality is measured on: the store's samples.

    Samples among `pairs` are not calibrated on. A store without samples gives up to 200 of `pairs`, a tenth at most.
    `vocabulary`: at most so many target tokens.
    FmallocError if fewer than 20 pairs are left to calibrate on.
    """
    known = set(samples)
    own = [pair for pair in pairs if pair not in known]
    held_out = list(samples)
    if not held_out:
        count = min(_HELD_OUT, len(own) // 10)
        held_out = [own[index * len(own) // count] for index in range(count)]
        known = set(held_out)
        own = [pair for pair in own if pair not in known]
    if len(own) < _FEWEST:
        raise FmallocError(
            f"calibration text: {len(own)} pairs beside those held out to measure quality on; "
            f"expected {_FEWEST} at least, and some thousands to do well"
        )
    calibration = TextCalibration(domain.base, domain.tokenizer, own, domain.languages)
    trimmed = trimming(domain, own, held_out, vocabulary)
    return Text(calibration, LossCurves(calibration), trimmed), tuple(held_out)
