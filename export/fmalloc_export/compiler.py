"""Run the passes that a level asks for on a domain, and emit the result."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.emit.emitter import Emitter, emitter_of
from fmalloc_export.options import Options
from fmalloc_export.passes import pipeline
from fmalloc_export.passes.base import Pass
from fmalloc_export.passes.pipeline import DomainText, Step


@dataclass(frozen=True)
class Compiled:
    """A domain and the model after each pass."""

    domain: Domain
    emitter: Emitter
    steps: tuple[Step, ...]

    @property
    def after(self) -> DomainModel:
        """The model after the last pass, which is emitted."""
        return self.steps[-1].model

    def emit(self, directory: Path, quantization: str) -> None:
        """Write the engine's files into a new `directory`."""
        emit(self.domain, self.emitter, self.after, directory, quantization)


def emit(domain: Domain, emitter: Emitter, model: DomainModel, directory: Path, quantization: str) -> None:
    """Write a model of the domain, after any of the passes, into a new `directory`."""
    directory.mkdir()
    emitter.emit(domain, model, directory, quantization)


def passes(options: Options, text: DomainText | None, keep: float | None) -> tuple[Pass, ...]:
    """The passes of a level; ValueError if -O1 or -O2 lacks `text`, or -O2 `keep`."""
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
    """Run the passes of the level in `options`; `on_pass` is called with the name of each before it runs."""
    steps = pipeline.run(domain.model, passes(options, text, keep), on_pass)
    return Compiled(domain, emitter_of(options.engine), steps)
