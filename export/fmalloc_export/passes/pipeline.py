"""The list of passes, and running it with the model verified between them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fmalloc_export.domain.model import DomainModel
from fmalloc_export.passes.bake_mask import BakeMask
from fmalloc_export.passes.base import Pass
from fmalloc_export.passes.compact_cells import CompactCells
from fmalloc_export.passes.drop_dead_cells import DropDeadCells
from fmalloc_export.passes.pad_width import PadWidth
from fmalloc_export.passes.text import DomainText

# Integer and half-precision kernels of GPUs want widths that are multiples of 16; on a CPU the few zero cells
# cost nothing that can be measured. In float32 any width is as good as another, except 0.
_FLOAT32_MULTIPLE = 1
_REDUCED_MULTIPLE = 16


@dataclass(frozen=True)
class Step:
    """A pass that ran: its report, and the model after it; `exact` as Pass.exact."""

    name: str
    report: str
    model: DomainModel
    exact: bool


def exact(quantization: str) -> tuple[Pass, ...]:
    """-O0: no translation changes."""
    return BakeMask(), pad_width(quantization)


def calibrated(text: DomainText, quantization: str) -> tuple[Pass, ...]:
    """-O1: on the domain's own text no cell's work is lost; words that it does not use are spelled in pieces."""
    return BakeMask(), DropDeadCells(text.calibration), text.trimming, pad_width(quantization)


def compacted(text: DomainText, keep: float, quantization: str) -> tuple[Pass, ...]:
    """-O2: fewer cells still; what that costs is measured."""
    return (
        BakeMask(),
        DropDeadCells(text.calibration),
        text.trimming,
        CompactCells(text.curves, keep),
        pad_width(quantization),
    )


def pad_width(quantization: str) -> PadWidth:
    """Widths that the engine's kernels for these weights want."""
    return PadWidth(_FLOAT32_MULTIPLE if quantization == "float32" else _REDUCED_MULTIPLE)


def run(model: DomainModel, steps: Iterable[Pass], on_pass: Callable[[str], object] = str) -> tuple[Step, ...]:
    """Apply `steps` in order; `on_pass` hears the name of each as it begins.

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
