"""The passes of each level in order, and running them with the model verified after each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fmalloc_export.domain.model import DomainModel
from fmalloc_export.passes.bake_mask import BakeMask
from fmalloc_export.passes.base import Calibration, Pass
from fmalloc_export.passes.compact_cells import CompactCells, Rankings
from fmalloc_export.passes.drop_dead_cells import DropDeadCells
from fmalloc_export.passes.pad_width import PadWidth
from fmalloc_export.passes.trim_vocabulary import TrimVocabulary

# Integer and half-precision kernels of GPUs need widths that are multiples of 16; on a CPU the few zero cells have no
# measurable cost. In float32 every width but 0 serves equally well.
_FLOAT32_MULTIPLE = 1
_REDUCED_MULTIPLE = 16


@dataclass(frozen=True)
class Step:
    """A pass that ran: its report, and the model after it; `exact` as Pass.exact."""

    name: str
    report: str
    model: DomainModel
    exact: bool


@dataclass(frozen=True)
class DomainText:
    """What drop-dead-cells, compact-cells and trim-vocabulary know of the domain's text."""

    calibration: Calibration
    rankings: Rankings
    trimming: TrimVocabulary


def exact(quantization: str) -> tuple[Pass, ...]:
    """-O0: no translation changes."""
    return BakeMask(), pad_width(quantization)


def calibrated(text: DomainText, quantization: str) -> tuple[Pass, ...]:
    """-O1: cells that never fire on the domain's text and target tokens that it never uses are cut."""
    return BakeMask(), DropDeadCells(text.calibration), text.trimming, pad_width(quantization)


def compacted(text: DomainText, keep: float, quantization: str) -> tuple[Pass, ...]:
    """-O2: as -O1, and the cells that are left are compacted to the share `keep`."""
    return (
        BakeMask(),
        DropDeadCells(text.calibration),
        text.trimming,
        CompactCells(text.rankings, keep),
        pad_width(quantization),
    )


def pad_width(quantization: str) -> PadWidth:
    """The pass that gives the widths which engines' kernels for this type of weights need."""
    return PadWidth(_FLOAT32_MULTIPLE if quantization == "float32" else _REDUCED_MULTIPLE)


def run(model: DomainModel, steps: Iterable[Pass], on_pass: Callable[[str], object] = str) -> tuple[Step, ...]:
    """Apply `steps` in order; `on_pass` is called with the name of each before it runs.

    Raises FmallocError if the model is malformed before, between or after them.
    """
    done = []
    model.verify()
    for step in steps:
        on_pass(step.name)
        model, report = step.apply(model)
        model.verify()
        done.append(Step(step.name, report, model, step.exact))
    return tuple(done)
