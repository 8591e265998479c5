"""The list of passes, and running it with the model verified between them."""

from collections.abc import Iterable

from fmalloc_export.model import DomainModel
from fmalloc_export.passes.bake_mask import BakeMask
from fmalloc_export.passes.base import Pass
from fmalloc_export.passes.pad_width import PadWidth

# Integer and half-precision kernels of GPUs want widths that are multiples of 16; on a CPU the few zero cells
# cost nothing that can be measured. In float32 any width is as good as another, except 0.
_FLOAT32_MULTIPLE = 1
_REDUCED_MULTIPLE = 16


def passes(quantization: str) -> tuple[Pass, ...]:
    """The passes of -O0, the level that changes no translation, in order."""
    return (
        BakeMask(),
        PadWidth(_FLOAT32_MULTIPLE if quantization == "float32" else _REDUCED_MULTIPLE),
    )


def run(model: DomainModel, steps: Iterable[Pass]) -> tuple[DomainModel, list[tuple[str, str]]]:
    """Apply `steps` in order; return the last model and (name, report) a pass.

    Raises FmallocError if the model is malformed before, between or after them.
    """
    reports = []
    model.verify()
    for step in steps:
        model, report = step.apply(model)
        model.verify()
        reports.append((step.name, report))
    return model, reports
