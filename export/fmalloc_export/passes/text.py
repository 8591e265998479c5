"""A domain's own text: what the passes above -O0 calibrate on, and what quality is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fmalloc.corpus import Pair, read_train_and_dev, spread
from fmalloc_export.domain.domain import Domain
from fmalloc_export.passes.calibration import TextCalibration
from fmalloc_export.passes.compact_cells import Rankings
from fmalloc_export.passes.pipeline import DomainText
from fmalloc_export.passes.vocabulary_use import trimming
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

_MOST_HELD_OUT = 1000
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

        Held-out are the store's `samples` and dev of the text, or where these have no 20 pairs, a tenth of the text; of
        the text, at most as many as make 1,000. `text` None (-O0): the samples, however few.

        Raises:
            FmallocError: `required`, and none has 20 pairs; or the text leaves fewer than 20 to calibrate on.
        """
        known = set(samples)
        pairs = [pair for pair in text.pairs if pair not in known] if text else []
        dev = text.dev if text else ()
        more = spread([pair for pair in dev if pair not in known], max(0, _MOST_HELD_OUT - len(samples)))
        parts = {"the store's samples": tuple(samples), "dev of the calibration text": more}
        held_out, origin = (*samples, *more), " and ".join(name for name, found in parts.items() if found)
        tenth = spread(pairs, min(_MOST_HELD_OUT, len(pairs) // _SHARE))
        if len(held_out) < _FEWEST <= len(tenth):
            held_out, origin = tenth, "a tenth of the calibration text"
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
    return DomainText(calibration, Rankings(calibration), trimmed)
