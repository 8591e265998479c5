"""A domain's own text: what the passes of -O1 and -O2 calibrate on, and what quality is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fmalloc.corpus import Pair, read_train_and_dev
from fmalloc_export.domain.domain import Domain
from fmalloc_export.passes.calibration import TextCalibration
from fmalloc_export.passes.compact_cells import LossCurves
from fmalloc_export.passes.pipeline import DomainText
from fmalloc_export.passes.vocabulary_use import trimming
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

_MOST_HELD_OUT = 200
# Pairs to calibrate on, and pairs to measure on.
_FEWEST = 20
# Of calibration text without dev, one pair in this many is held out.
_SHARE = 10


@dataclass(frozen=True)
class CalibrationText:
    """Parallel text of a domain as it was read: pairs to calibrate on, and its dev part if it has one."""

    pairs: tuple[Pair, ...]
    dev: tuple[Pair, ...] = ()

    @classmethod
    def read(cls, path: Path, languages: LanguagePair) -> "CalibrationText":
        """Read a file, or train and dev of a folder; FmallocError if it cannot be read."""
        return cls(*read_train_and_dev(path, languages))


@dataclass(frozen=True)
class TextSplit:
    """Pairs to calibrate on, and held-out pairs that quality is measured on; `origin` says where those are from."""

    calibration: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    origin: str

    @classmethod
    def of(cls, samples: Sequence[Pair], text: CalibrationText | None, *, required: bool) -> "TextSplit":
        """Choose held-out pairs, and keep them out of what is calibrated on.

        Held-out is the first of these that has 20 pairs: the store's `samples`; dev of the text; a tenth of the text.
        At most 200 are taken of the text. `text` None (-O0): the samples, however few.

        Raises:
            FmallocError: `required`, and none has 20 pairs; or the text leaves fewer than 20 to calibrate on.
        """
        known = set(samples)
        pairs = [pair for pair in text.pairs if pair not in known] if text else []
        dev = text.dev if text else ()
        sources = {
            "the store's samples": tuple(samples),
            "dev of the calibration text": _spread(dev, _MOST_HELD_OUT),
            "a tenth of the calibration text": _spread(pairs, min(_MOST_HELD_OUT, len(pairs) // _SHARE)),
        }
        origin = next((name for name, found in sources.items() if len(found) >= _FEWEST), "the store's samples")
        held_out = sources[origin]
        known.update(held_out)
        pairs = [pair for pair in pairs if pair not in known]
        if text and len(pairs) < _FEWEST:
            raise FmallocError(
                f"calibration text: {len(pairs)} pairs beside those held out to measure quality; "
                f"expected at least {_FEWEST}, better some thousands"
            )
        if required and len(held_out) < _FEWEST:
            beside = f", the calibration text {len(dev)} pairs of dev and {len(pairs)} others" if text else ""
            raise FmallocError(
                f"no held-out text to measure quality on: the store has {len(samples)} samples of the domain{beside}; "
                f"expected {_FEWEST} held-out pairs. {_REMEDY if text else ''}"
                "The store keeps dev pairs of a domain that is learned with `samples` in the recipe"
            )
        return cls(tuple(pairs), held_out, origin)


_REMEDY = (
    f"Give --calibration a folder with train and dev, or at least {_SHARE * _FEWEST} pairs, of which a tenth is held "
    "out. "
)


def domain_text(domain: Domain, split: TextSplit, vocabulary: int | None = None) -> DomainText:
    """What passes know of the text; `vocabulary`: the most target tokens."""
    calibration = TextCalibration(domain.base, domain.tokenizer, split.calibration, domain.languages)
    trimmed = trimming(domain, split.calibration, split.held_out, vocabulary)
    return DomainText(calibration, LossCurves(calibration), trimmed)


def _spread(pairs: Sequence[Pair], count: int) -> tuple[Pair, ...]:
    """Evenly spaced pairs, at most `count`."""
    count = min(count, len(pairs))
    return tuple(pairs[index * len(pairs) // count] for index in range(count))
