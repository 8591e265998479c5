"""A domain's own text for the passes of -O1 and -O2: what to calibrate on, what to hold out."""

from collections.abc import Sequence

from fmalloc.corpus import Pair
from fmalloc_export.domain.domain import Domain
from fmalloc_export.passes.calibration import TextCalibration
from fmalloc_export.passes.compact_cells import LossCurves
from fmalloc_export.passes.pipeline import DomainText
from fmalloc_export.passes.vocabulary_use import trimming
from fmalloc_shared.errors import FmallocError

_HELD_OUT = 200
_FEWEST = 20


def text_of(
    domain: Domain, pairs: Sequence[Pair], samples: Sequence[Pair], vocabulary: int | None = None
) -> tuple[DomainText, tuple[Pair, ...]]:
    """What passes know of `pairs`, and the held-out pairs on which quality is measured.

    Held-out are the store's `samples`; those that occur in `pairs` are not calibrated on. Where there are none, up to
    200 of `pairs`, and at most a tenth, are held out. `vocabulary`: the most target tokens.
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
            f"calibration text: {len(own)} pairs beside those held out to measure quality; "
            f"expected at least {_FEWEST}, better some thousands"
        )
    calibration = TextCalibration(domain.base, domain.tokenizer, own, domain.languages)
    trimmed = trimming(domain, own, held_out, vocabulary)
    return DomainText(calibration, LossCurves(calibration), trimmed), tuple(held_out)
