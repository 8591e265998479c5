"""One domain, through the passes, into an engine's files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.emit.emitter import Emitter, emitter_of
from fmalloc_export.options import Options
from fmalloc_export.passes import pipeline
from fmalloc_export.passes.base import Pass
from fmalloc_export.passes.pipeline import Step
from fmalloc_export.passes.text import DomainText


@dataclass(frozen=True)
class Compiled:
    """A domain and what the passes made of it, one after another."""

    domain: Domain
    emitter: Emitter
    steps: tuple[Step, ...]

    @property
    def after(self) -> DomainModel:
        """What is emitted."""
        return self.steps[-1].model

    def emit(self, directory: Path, quantization: str) -> None:
        """Write the engine's files into a new `directory`."""
        emit(self.domain, self.emitter, self.after, directory, quantization)


def emit(domain: Domain, emitter: Emitter, model: DomainModel, directory: Path, quantization: str) -> None:
    """Write a model of the domain, between any two passes, into a new `directory`."""
    directory.mkdir()
    emitter.emit(domain, model, directory, quantization)


def passes(options: Options, text: DomainText | None, keep: float | None) -> tuple[Pass, ...]:
    """What a level does; ValueError without `text` from -O1 on, or without `keep` at -O2."""
    if options.level == "O0":
        return pipeline.exact(options.quantization)
    if text is None or (options.level == "O2" and keep is None):
        raise ValueError(f"-{options.level} needs text of the domain, and -O2 a share of cells to keep")
    if options.level == "O1" or keep is None:
        return pipeline.calibrated(text, options.quantization)
    return pipeline.compacted(text, keep, options.quantization)


def compile_at(
    domain: Domain,
    options: Options,
    text: DomainText | None = None,
    keep: float | None = None,
    on_pass: Callable[[str], object] = str,
) -> Compiled:
    """Run the passes that `options` ask for; `on_pass` hears the name of each as it begins."""
    steps = pipeline.run(domain.model, passes(options, text, keep), on_pass)
    return Compiled(domain, emitter_of(options.engine), steps)
