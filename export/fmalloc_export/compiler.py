"""Run the passes that a level asks for on a domain, and emit the result."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fmalloc_export.bundles.publish import CPU
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.emit.emitter import Emitter, emitter_of
from fmalloc_export.options import Options
from fmalloc_export.passes import pipeline
from fmalloc_export.passes.base import Pass
from fmalloc_export.passes.pipeline import DomainText, Step
from fmalloc_runtime.bundle.bundle import (
    MODEL_DIRECTORY,
    TOKENIZER_DIRECTORY,
    Bundle,
    EngineInfo,
    Identical,
    Manifest,
    Parity,
    PassInfo,
    SourceInfo,
)
from fmalloc_runtime.live.translator import Translator

_NONE = Identical(sliced_greedy=0, sliced_beam=0, emitted_greedy=0, emitted_beam=0)
UNCHECKED = Parity(real_sentences=0, random_sentences=0, tolerance=0.0, identical=_NONE)


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

    def run(self, directory: Path, quantization: str, tokenizer: Path, *, beam_size: int | None = None) -> Translator:
        """Emit into a new `directory`, as a bundle without checks, and load it; `tokenizer`: its written files."""
        directory.mkdir()
        self.emit(directory / MODEL_DIRECTORY, quantization)
        (directory / TOKENIZER_DIRECTORY).symlink_to(tokenizer.resolve())
        options = Options(engine=self.emitter.NAME, quantization=quantization, beam_size=beam_size)
        return Translator.load(Bundle(directory, self.manifest(options, UNCHECKED)), CPU)

    def manifest(
        self, options: Options, parity: Parity, *, keep: float | None = None, calibration: str | None = None
    ) -> Manifest:
        """The manifest without quality and files, which are added once they are known.

        `keep`: the share that was found; `calibration`: digest of the text.
        """
        domain = self.domain
        of_store, of_task = domain.store.digest(domain.task)
        return Manifest(
            domain=domain.name,
            languages=domain.languages,
            engine=EngineInfo(
                name=self.emitter.NAME,
                minimum_version=self.emitter.MINIMUM_VERSION,
                quantization=options.quantization,
            ),
            level=options.level,
            keep=keep,
            passes=tuple(PassInfo(name=step.name, report=step.report) for step in self.steps),
            widths=self.after.widths,
            target_tokens=len(self.after.target_tokens),
            maximum_length=domain.maximum_length,
            beam_size=options.beam_size,
            source=SourceInfo(store=of_store, task=of_task, calibration=calibration, distilled=domain.distillation),
            parity=parity,
            quality=None,
            files={},
        )


def emit(domain: Domain, emitter: Emitter, model: DomainModel, directory: Path, quantization: str) -> None:
    """Write a model of the domain, after any of the passes, into a new `directory`."""
    directory.mkdir()
    emitter.emit(domain, model, directory, quantization)


def passes(options: Options, text: DomainText | None, keep: float | None) -> tuple[Pass, ...]:
    """The passes of a level; ValueError if one above -O0 lacks `text`, or above -O1 `keep`."""
    if options.level == "O0":
        return pipeline.exact(options.quantization)
    if text is None or (options.compacts and keep is None):
        raise ValueError(f"-{options.level} needs text of the domain, and above -O1 a share of cells to keep")
    if keep is None:
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
