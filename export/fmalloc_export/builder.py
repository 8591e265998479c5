"""Compile one domain, check it, and build its bundle."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from fmalloc.corpus import Pair, digest
from fmalloc_export.bundles.attachments import attach
from fmalloc_export.bundles.publish import CPU
from fmalloc_export.checks import parity
from fmalloc_export.checks.confidence import calibrate
from fmalloc_export.checks.divergence import Divergence
from fmalloc_export.checks.golden import choose_golden
from fmalloc_export.checks.quality import QualityCheck, exceeds, points, refusal
from fmalloc_export.checks.sentences import Sentences, sentences_of
from fmalloc_export.checks.share import smallest_share
from fmalloc_export.checks.size import SizeRow
from fmalloc_export.compiler import Compiled, compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.student import Student
from fmalloc_export.domain.transformer import one_thread, with_cells
from fmalloc_export.options import Options
from fmalloc_export.passes.text import CalibrationText, TextSplit, domain_text
from fmalloc_runtime.bundle import bundle as bundle_format
from fmalloc_runtime.bundle.bundle import Bundle, Quality, lines_of
from fmalloc_runtime.bundle.manifest import Confidence
from fmalloc_runtime.confidence import Evidence
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files
from fmalloc_shared.names import GENERAL

# Called with a description of what is being done.
OnStep = Callable[[str], object]


@dataclass(frozen=True)
class Built:
    """A bundle that is complete and checked, not published yet.

    `widths_before`: of the learned model; `largest_difference`: see checks.parity.ParityReport. `check`: what quality
    was measured with, None without held-out text.
    """

    bundle: Bundle
    widths_before: dict[str, int]
    size_rows: tuple[SizeRow, ...]
    largest_difference: float
    check: QualityCheck | None


def build(
    domain: Domain,
    options: Options,
    text: CalibrationText | None,
    student: Student | None,
    work: Path,
    *,
    on_step: OnStep = str,
) -> Built:
    """The bundle of a domain, complete and checked, in the empty folder `work`.

    `text`: of the domain, above -O0. `student`: what was distilled of it, at -O3. Raises FmallocError if the emitted
    model is not the compiled one, if it loses more quality than `options` allow, or if there is no held-out text to
    measure that on.
    """
    with one_thread():
        return _BundleBuilder(domain, options, text, student, work, on_step).build()


class _BundleBuilder:
    """Builds one bundle; everything stays below `work` until it is complete.

    Compiled is the domain's learned model or, at -O3, its student, which is compared with the learned one.
    """

    def __init__(
        self,
        domain: Domain,
        options: Options,
        text: CalibrationText | None,
        student: Student | None,
        work: Path,
        on_step: OnStep,
    ) -> None:
        self._domain, self._options, self._on_step = domain, options, on_step
        self._student = student
        self._compiled: Domain = student or domain
        self._work, self._directory = work, work / "bundle"
        self._directory.mkdir()
        self._tokenizer = domain.write_tokenizer(self._directory / bundle_format.TOKENIZER_DIRECTORY)
        self._calibration = digest(text.pairs) if text else None
        split = TextSplit.of(domain.samples, text, required=options.bound is not None)
        self._held_out = self._fitting(split.held_out)
        if options.bound is not None and not self._held_out:
            of = len(split.held_out)
            raise FmallocError(f"held-out text: none of {of} sources fits into {domain.maximum_length} tokens")
        self._text = None
        if text:
            self._on_step("reading calibration text")
            self._text = domain_text(self._compiled, split, options.vocabulary)
        self._on_step("emitting the learned model")
        self._learned = work / "learned"
        learned = self._emit(compile_at(domain, Options(engine=options.engine)), "float32", self._learned)
        self._quality_check: QualityCheck | None = None
        self._outside: QualityCheck | None = None
        self._divergence: Divergence | None = None
        if self._held_out:
            self._on_step(f"translating {len(self._held_out)} held-out sentences with the learned model")
            self._quality_check = QualityCheck.of(self._held_out, learned)
            self._divergence = Divergence(domain, self._held_out, student)
        if student and domain.name != GENERAL and (general := self._fitting(domain.store.samples(GENERAL))):
            self._on_step(f"translating {len(general)} general sentences with the learned model")
            self._outside = QualityCheck.of(general, learned)

    def build(self) -> Built:
        """See the function of this name."""
        keep = self._share() if self._options.compacts else None
        compiled = self._compile(keep)
        self._on_step(f"emitting {self._options.quantization}")
        model, domain = self._directory / bundle_format.MODEL_DIRECTORY, self._domain
        if self._is_learned:
            shutil.copytree(self._learned / bundle_format.MODEL_DIRECTORY, model)
        else:
            compiled.emit(model, self._options.quantization)
        sources = [pair.source for pair in self._held_out]
        sentences = sentences_of(sources, self._tokenizer, domain.vocabulary, domain.maximum_length)
        report = self._check(compiled, sentences)
        manifest = compiled.manifest(self._options, report.parity, keep=keep, calibration=self._calibration)
        translator = Translator.load(Bundle(self._directory, manifest), CPU)
        quality, confidence = self._measure(translator)
        outside = None
        if self._outside:
            self._on_step("measuring general text")
            outside = self._outside.compare(self._outside.translated(translator), None)
        size_rows = self._size_rows(compiled, quality)
        # A store without samples wants no text kept, and calibration text gets into no bundle: then golden sentences
        # are random ones.
        kept = [pair.source for pair in domain.samples]
        drawn = (self._tokenizer.decode(tokens) for tokens in sentences.tokens[sentences.real :])
        golden = choose_golden(translator, [*kept, *drawn])
        (self._directory / bundle_format.GOLDEN_FILE).write_bytes(lines_of(golden))
        (self._directory / bundle_format.ROUTING_FILE).write_bytes(domain.store.routing(domain.task).to_bytes())
        measured = {"quality": quality, "out_of_domain": outside, "confidence": confidence} | self._compiled.markers
        if self._options.memory is not None:
            self._on_step(f"writing a translation memory of {len(self._options.memory)} pairs")
        held = attach(self._directory, self._options.memory, self._options.glossary)
        manifest = manifest.model_copy(update=measured | held)
        manifest = manifest.model_copy(update={"files": sha256_files(self._directory)})
        (self._directory / bundle_format.MANIFEST_FILE).write_bytes(manifest.to_bytes())
        built = Bundle.open(self._directory.rename(self._work / manifest.bundle_name))
        Translator.load(built, CPU).replay_golden()
        return Built(built, domain.model.widths, size_rows, report.largest_difference, self._quality_check)

    def _fitting(self, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        """The pairs whose sources the model has positions for."""
        most = self._domain.maximum_length
        return tuple(pair for pair in pairs if len(self._tokenizer.encode(pair.source)) <= most)

    def _share(self) -> float:
        """The share of the cells that is asked for, or the smallest that keeps the bound.

        What distillation and a beam of its own lose counts too: cells are cut as long as all stay within the bound.
        """
        options, divergence = self._options, self._divergence
        if options.keep is not None:
            return options.keep
        assert options.bound is not None
        assert divergence
        lost, spare = 0.0, options.bound
        if self._student:
            divergence = Divergence(self._student, self._held_out)
        if self._student or options.beam_size is not None:
            lost = self._drop(1.0)
            spare = options.bound - max(0.0, lost)
            if spare <= 0:
                return 1.0
        return smallest_share(
            cache(lambda keep: self._nats(keep, divergence)), cache(lambda keep: self._drop(keep) - lost), spare
        )

    @property
    def _is_learned(self) -> bool:
        """Whether the learned model, emitted at -O0 in float32, is what is asked for: equal inputs give equal bytes."""
        return self._options.level == "O0" and self._options.quantization == "float32"

    def _measure(self, emitted: Translator) -> tuple[Quality | None, Confidence | None]:
        """What the emitted model loses, and how to tell which of its translations need editing.

        Both None without held-out text, the second also where that does not tell; FmallocError if it loses more than
        `options` allow.
        """
        if not self._quality_check:
            return None, None
        self._on_step("measuring quality")
        check = self._quality_check
        same = self._is_learned and self._options.beam_size is None
        translations = check.learned if same else check.translated(emitted)
        quality = check.compare(translations, self._options.bound)
        if exceeds(quality) and not self._options.allow_quality_drop:
            raise FmallocError(refusal(quality, self._options))
        confidence = None
        if self._options.confidence:
            evidence = Evidence(self._domain.store.routing(self._domain.task), self._tokenizer)
            confidence = calibrate(check.pairs, translations, evidence)
        return quality.model_copy(update={"allowed": exceeds(quality)}), confidence

    def _compile(self, keep: float | None) -> Compiled:
        share = "" if keep is None else f", {keep:.0%} of the cells"
        return compile_at(
            self._compiled, self._options, self._text, keep, on_pass=lambda name: self._on_step(f"{name}{share}")
        )

    def _nats(self, keep: float, divergence: Divergence) -> float:
        """Divergence from the whole model with a share of the cells, in nats per target token."""
        nats = divergence.of(self._compile(keep).after)
        self._on_step(f"{keep:.1%} of the cells: {nats:.4f} nats")
        return nats

    def _drop(self, keep: float) -> float:
        """Points lost with a share of the cells, in BLEU or in chrF, whichever is more; weights in their final type."""
        assert self._quality_check
        with tempfile.TemporaryDirectory(dir=self._work) as directory:
            tried, options = Path(directory) / "tried", self._options
            emitted = self._emit(self._compile(keep), options.quantization, tried, beam_size=options.beam_size)
            after = self._quality_check.score(self._quality_check.translated(emitted))
        before = self._quality_check.score(self._quality_check.learned)
        self._on_step(
            f"{keep:.1%} of the cells: {after.bleu - before.bleu:+.2f} BLEU, {after.chrf - before.chrf:+.2f} chrF"
        )
        return points(max(before.bleu - after.bleu, before.chrf - after.chrf))

    def _emit(
        self, compiled: Compiled, quantization: str, directory: Path, *, beam_size: int | None = None
    ) -> Translator:
        """Emit into a new `directory`, as a bundle without checks."""
        tokenizer = self._directory / bundle_format.TOKENIZER_DIRECTORY
        return compiled.run(directory, quantization, tokenizer, beam_size=beam_size)

    def _check(self, compiled: Compiled, sentences: Sentences) -> parity.ParityReport:
        self._on_step("checking parity")
        domain, exact = self._compiled, self._directory / bundle_format.MODEL_DIRECTORY
        if self._options.quantization != "float32":
            exact = self._work / "float32"
            compiled.emit(exact, "float32")
        lossy = self._options.level != "O0"
        report = parity.check(
            parity.ComparedModels(
                masked=domain.masked,
                sliced=domain.sliced,
                compiled=with_cells(domain.base, compiled.after) if lossy else None,
                learned=self._learned / bundle_format.MODEL_DIRECTORY if lossy else None,
                teacher=self._domain.masked if self._student else None,
                emitted=exact,
            ),
            compiled.emitter,
            domain.vocabulary,
            compiled.after.target_tokens,
            sentences,
            self._tokenizer.target_prefix,
            domain.maximum_length,
            self._options.beam_size,
        )
        if exact.parent == self._work:
            shutil.rmtree(exact)
        return report

    def _size_rows(self, compiled: Compiled, quality: Quality | None) -> tuple[SizeRow, ...]:
        """Rows for the learned model, the model after each pass, and the emitted model."""
        domain, learned = self._domain, quality.bleu_before if quality else None
        found = [SizeRow.of("learned", domain, domain.model, quantization="float32", bleu=learned)]
        if self._student:
            domain = self._student
            nats = self._divergence.of(domain.model) if self._divergence else None
            row = SizeRow.of("distilled", domain, domain.model, quantization="float32", divergence=nats)
            found.append(replace(row, note=self._student.described))
        for step in compiled.steps:
            nats = None
            if self._divergence and not step.exact:
                self._on_step(f"measuring {step.name}")
                nats = self._divergence.of(step.model)
            row = SizeRow.of(step.name, domain, step.model, quantization="float32", divergence=nats, note=step.report)
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
