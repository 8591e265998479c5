"""Compile one domain, check it, and build its bundle."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

from fmalloc.corpus import digest
from fmalloc.store.records import Score
from fmalloc_export.bundles.publish import CPU, publish, put_live, staging
from fmalloc_export.checks import parity
from fmalloc_export.checks.golden import choose_golden
from fmalloc_export.checks.quality import QualityCheck, exceeds, points, refusal, smallest_share
from fmalloc_export.checks.sentences import Sentences, sentences_of
from fmalloc_export.checks.size import SizeRow
from fmalloc_export.compiler import Compiled, compile_at, emit
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.transformer import one_thread, with_cells
from fmalloc_export.options import Options
from fmalloc_export.passes.pad_width import PadWidth
from fmalloc_export.passes.text import CalibrationText, TextSplit, domain_text
from fmalloc_runtime.bundle import bundle as bundle_format
from fmalloc_runtime.bundle.bundle import Bundle, Manifest, Quality, golden_bytes
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files

# Called with a description of what is being done.
OnStep = Callable[[str], object]


@dataclass(frozen=True)
class Exported:
    """A finished export.

    `written` is False if the same bundle was there already; `largest_difference`: see checks.parity.ParityReport.
    """

    path: Path
    manifest: Manifest
    written: bool
    widths_before: dict[str, int]
    size_rows: tuple[SizeRow, ...]
    largest_difference: float


def export_domain(
    domain: Domain,
    output_dir: Path,
    options: Options,
    text: CalibrationText | None = None,
    *,
    force: bool = False,
    live: bool = True,
    on_step: OnStep = str,
) -> Exported:
    """Write the bundle of a domain and, with `live`, put it into live.json; the caller holds `publish.writing`.

    `text`: of the domain, for -O1 and -O2. `force` replaces a damaged bundle of the same name.
    Raises FmallocError, and leaves no bundle, if the emitted model is not the compiled one, if it loses more quality
    than `options` allow, or if there is no held-out text to measure that on.
    """
    with staging(output_dir) as work, one_thread():
        built, size_rows, largest_difference = _BundleBuilder(domain, options, text, work, on_step).build()
        on_step("publishing")
        written = publish(built, output_dir, force=force)
        if live:
            put_live(output_dir, built.name)
        return Exported(
            path=output_dir / built.name,
            manifest=built.manifest,
            written=written,
            widths_before=domain.model.widths,
            size_rows=size_rows,
            largest_difference=largest_difference,
        )


def build(
    domain: Domain, options: Options, text: CalibrationText | None, work: Path, *, on_step: OnStep = str
) -> Bundle:
    """The bundle of a domain, complete and checked, in the empty folder `work`; see export_domain."""
    with one_thread():
        return _BundleBuilder(domain, options, text, work, on_step).build()[0]


class _BundleBuilder:
    """Builds one bundle; everything stays below `work` until it is complete."""

    def __init__(
        self, domain: Domain, options: Options, text: CalibrationText | None, work: Path, on_step: OnStep
    ) -> None:
        self._domain, self._options, self._on_step = domain, options, on_step
        self._work, self._directory = work, work / "bundle"
        self._directory.mkdir()
        self._tokenizer = domain.write_tokenizer(self._directory / bundle_format.TOKENIZER_DIRECTORY)
        self._calibration = digest(text.pairs) if text else None
        split = TextSplit.of(domain.samples, text, required=options.bound is not None)
        fits = [len(self._tokenizer.encode(pair.source)) <= domain.maximum_length for pair in split.held_out]
        self._held_out = tuple(compress(split.held_out, fits))
        if options.bound is not None and not self._held_out:
            raise FmallocError(f"held-out text: none of {len(fits)} sources fits into {domain.maximum_length} tokens")
        self._text = None
        if text:
            self._on_step("reading calibration text")
            self._text = domain_text(domain, split, options.vocabulary)
        self._quality_check: QualityCheck | None = None
        if self._held_out:
            self._on_step("translating held-out text with the learned model")
            self._quality_check = QualityCheck.of(domain, self._held_out)

    def build(self) -> tuple[Bundle, tuple[SizeRow, ...], float]:
        """The bundle, its size after each step, and the largest difference of log-probabilities between models."""
        keep = self._options.keep
        if self._options.level == "O2" and keep is None:
            assert self._options.bound is not None
            keep = smallest_share(self._drop, self._options.bound)
        compiled = self._compile(keep)
        self._on_step(f"emitting {self._options.quantization}")
        compiled.emit(self._directory / bundle_format.MODEL_DIRECTORY, self._options.quantization)
        domain = self._domain
        sources = [pair.source for pair in self._held_out]
        sentences = sentences_of(sources, self._tokenizer, domain.vocabulary, domain.maximum_length)
        report = self._check(compiled, sentences)
        manifest = self._manifest(compiled, keep, report.parity)
        translator = Translator.load(Bundle(self._directory, manifest), CPU)
        quality = self._measure(translator)
        size_rows = self._size_rows(compiled, quality)
        # A store without samples wants no text kept, and calibration text gets into no bundle: then golden sentences
        # are random ones.
        kept = [pair.source for pair in domain.samples]
        drawn = (self._tokenizer.decode(tokens) for tokens in sentences.tokens[sentences.real :])
        golden = choose_golden(translator, [*kept, *drawn])
        (self._directory / bundle_format.GOLDEN_FILE).write_bytes(golden_bytes(golden))
        (self._directory / bundle_format.ROUTING_FILE).write_bytes(domain.store.routing(domain.name).to_bytes())
        manifest = manifest.model_copy(update={"quality": quality, "files": sha256_files(self._directory)})
        (self._directory / bundle_format.MANIFEST_FILE).write_bytes(manifest.to_bytes())
        built = Bundle.open(self._directory.rename(self._work / manifest.bundle_name))
        Translator.load(built, CPU).replay_golden()
        return built, size_rows, report.largest_difference

    def _measure(self, emitted: Translator) -> Quality | None:
        """What the emitted model loses, None without held-out text; FmallocError if it is more than `options` allow."""
        if not self._quality_check:
            return None
        self._on_step("measuring quality")
        quality = self._quality_check.compare(self._quality_check.translated(emitted), self._options.bound)
        if exceeds(quality) and not self._options.allow_quality_drop:
            raise FmallocError(refusal(quality, self._options))
        return quality.model_copy(update={"allowed": exceeds(quality)})

    def _compile(self, keep: float | None) -> Compiled:
        share = "" if keep is None else f", {keep:.0%} of the cells"
        return compile_at(
            self._domain, self._options, self._text, keep, on_pass=lambda name: self._on_step(f"{name}{share}")
        )

    def _drop(self, keep: float) -> float:
        """Points lost with a share of the cells, in BLEU or in chrF, whichever is more; weights in their final type."""
        assert self._quality_check
        compiled = self._compile(keep)
        before = self._quality_check.score(self._quality_check.learned)
        after = self._score(compiled.after, compiled, self._options.quantization)
        self._on_step(
            f"{keep:.0%} of the cells: {after.bleu - before.bleu:+.2f} BLEU, {after.chrf - before.chrf:+.2f} chrF"
        )
        return points(max(before.bleu - after.bleu, before.chrf - after.chrf))

    def _score(self, model: DomainModel, compiled: Compiled, quantization: str) -> Score:
        """Score on held-out text; `model` may come from between two passes or after the last."""
        assert self._quality_check
        with tempfile.TemporaryDirectory(dir=self._work) as name:
            directory = Path(name)
            padded, _ = PadWidth(1).apply(model)
            emit(self._domain, compiled.emitter, padded, directory / bundle_format.MODEL_DIRECTORY, quantization)
            (directory / bundle_format.TOKENIZER_DIRECTORY).symlink_to(
                (self._directory / bundle_format.TOKENIZER_DIRECTORY).resolve()
            )
            manifest = self._manifest(compiled, None, parity.UNCHECKED)
            translator = Translator.load(Bundle(directory, manifest), CPU)
            return self._quality_check.score(self._quality_check.translated(translator))

    def _check(self, compiled: Compiled, sentences: Sentences) -> parity.ParityReport:
        self._on_step("checking parity")
        domain, exact = self._domain, self._directory / bundle_format.MODEL_DIRECTORY
        if self._options.quantization != "float32":
            exact = self._work / "float32"
            compiled.emit(exact, "float32")
        lossy = self._options.level != "O0"
        report = parity.check(
            parity.ComparedModels(
                masked=domain.masked,
                sliced=domain.sliced,
                compiled=with_cells(domain.base, compiled.after) if lossy else None,
                emitted=exact,
            ),
            compiled.emitter,
            domain.vocabulary,
            compiled.after.target_tokens,
            sentences,
            self._tokenizer.target_prefix,
            domain.maximum_length,
        )
        if exact.parent == self._work:
            shutil.rmtree(exact)
        return report

    def _size_rows(self, compiled: Compiled, quality: Quality | None) -> tuple[SizeRow, ...]:
        """Rows for the learned model, the model after each pass, and the emitted model."""
        domain, learned = self._domain, quality.bleu_before if quality else None
        found = [SizeRow.of("learned", domain, domain.model, quantization="float32", bleu=learned, note="")]
        for step in compiled.steps:
            bleu = None
            if self._quality_check and not step.exact:
                self._on_step(f"measuring {step.name}")
                bleu = self._score(step.model, compiled, "float32").bleu
            row = SizeRow.of(step.name, domain, step.model, quantization="float32", bleu=bleu, note=step.report)
            found.append(row)
        quantization = self._options.quantization
        emitted = SizeRow.of(
            "emitted",
            domain,
            compiled.after,
            quantization=quantization,
            bleu=quality.bleu_after if quality else None,
            note=f"{compiled.emitter.NAME} {quantization}",
        )
        files = (self._directory / bundle_format.MODEL_DIRECTORY).rglob("*")
        size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
        return (*found, replace(emitted, megabytes=size))

    def _manifest(self, compiled: Compiled, keep: float | None, checked: bundle_format.Parity) -> Manifest:
        """The manifest without quality and files, which are added once they are known."""
        domain, options = self._domain, self._options
        of_store, of_task = domain.store.digest(domain.name)
        return Manifest(
            domain=domain.name,
            languages=domain.languages,
            engine=bundle_format.EngineInfo(
                name=compiled.emitter.NAME,
                minimum_version=compiled.emitter.MINIMUM_VERSION,
                quantization=options.quantization,
            ),
            level=options.level,
            keep=keep,
            passes=tuple(bundle_format.PassInfo(name=step.name, report=step.report) for step in compiled.steps),
            widths=compiled.after.widths,
            target_tokens=len(compiled.after.target_tokens),
            maximum_length=domain.maximum_length,
            source=bundle_format.SourceInfo(store=of_store, task=of_task, calibration=self._calibration),
            parity=checked,
            quality=None,
            files={},
        )
