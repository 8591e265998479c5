"""What `fmalloc shallow` does: the general model with fewer decoder layers, kept in the store."""

from pathlib import Path

from fmalloc.store.distilled import Distilled
from fmalloc.store.store import Store
from fmalloc_export.domain.domain import Domain
from fmalloc_export.students.students import Distillation, Lesson, StudentArguments
from fmalloc_shared.commands.command import echo
from fmalloc_shared.commands.progress import console
from fmalloc_shared.names import GENERAL


def shallow(path: Path, arguments: StudentArguments, *, dry_run: bool) -> None:
    """Distil it, or find the one that was made of the same; FmallocError for a damaged store or text."""
    store = Store.open(path)
    store.verify()
    domain = Domain.load(store, GENERAL)
    sources = [Path(given) for given in arguments.sources]
    read = Distillation.read(arguments, dict(zip([GENERAL], sources, strict=False)), store)
    # General text is what a general student learns from, not what is mixed in.
    distillation = Distillation(read.settings, read.sources, (), read.device)
    lesson = Lesson.of(domain, distillation, read.general, domain.samples, anew=True)
    if dry_run:
        echo(f"{GENERAL}: {lesson.explain()}")
        return
    made = lesson.student()
    echo(f"{GENERAL}: {made.path}")
    console.print(f"{GENERAL}: {_described(made)}")


def _described(made: Distilled) -> str:
    record = made.record
    best = min(point.nll for point in record.curve)
    layers = ", ".join(map(str, record.decoder_layers))
    return (
        f"it began with the decoder layers {layers}, counted from 0, and learned for {record.updates} updates; dev NLL "
        f"{best:.3f}, its teacher's {record.teacher_nll:.3f}"
    )
