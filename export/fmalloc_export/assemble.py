"""Compile a domain, check it, and put the bundle together."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmalloc.corpus import Languages
from fmalloc.models import load_masked, load_sliced
from fmalloc.store import Store
from fmalloc_export import parity, quality
from fmalloc_export.compiler import Compiled, compile_domain
from fmalloc_export.publish import publish, put_live, staging
from fmalloc_export.sentences import Sentences, sentences_of
from fmalloc_runtime import bundle as format_
from fmalloc_runtime.bundle import Bundle, GoldenRecord, Manifest, golden_bytes
from fmalloc_runtime.tokenizer import Tokenizer
from fmalloc_runtime.translator import EngineSettings, Translator
from fmalloc_shared.files import sha256_files

_GOLDEN = 16
_CPU = EngineSettings(device="cpu", intra_threads=1)

STEPS = ("compiling", "checking parity", "measuring quality", "publishing")


@dataclass(frozen=True)
class Exported:
    """A finished export: `written` is False if the same bundle was there already."""

    path: Path
    manifest: Manifest
    written: bool
    widths_before: dict[str, int]
    parameters: tuple[int, int]
    model_bytes: int
    largest_difference: float


def export(
    store: Store,
    name: str,
    output_dir: Path,
    quantization: str,
    *,
    force: bool = False,
    live: bool = True,
    on_step: Callable[[str], object],
) -> Exported:
    """Write the bundle of a domain and let it serve; the caller holds `publish.writing(output_dir)`.

    `on_step` hears each of STEPS as it begins.
    Raises FmallocError, and leaves no bundle, if the emitted model is not the learned one.
    """
    with staging(output_dir) as work:
        on_step(STEPS[0])
        compiled = compile_domain(store, name, quantization)
        built, largest_difference = _build(store, compiled, work, quantization, on_step)
        on_step(STEPS[3])
        written = publish(built, output_dir, force=force)
        if live:
            put_live(output_dir, built.name)
        path = output_dir / built.name
        return Exported(
            path=path,
            manifest=built.manifest,
            written=written,
            widths_before=compiled.before.widths,
            parameters=compiled.parameters,
            model_bytes=sum(file.stat().st_size for file in (path / format_.MODEL_DIRECTORY).iterdir()),
            largest_difference=largest_difference,
        )


def _build(
    store: Store, compiled: Compiled, work: Path, quantization: str, on_step: Callable[[str], object]
) -> tuple[Bundle, float]:
    name = compiled.before.domain
    languages = Languages(store.description.languages.source, store.description.languages.target)
    directory = work / "bundle"
    directory.mkdir()
    tokenizer = compiled.emit_tokenizer(store, directory / format_.TOKENIZER_DIRECTORY)
    compiled.emit(directory / format_.MODEL_DIRECTORY, quantization)
    exact = directory / format_.MODEL_DIRECTORY
    if quantization != "float32":
        exact = work / "float32"
        compiled.emit(exact, "float32")

    on_step(STEPS[1])
    pairs = [pair for pair in store.samples(name) if len(tokenizer.encode(pair.source)) <= compiled.maximum_length]
    sources = [pair.source for pair in pairs]
    sentences = sentences_of(sources, tokenizer, compiled.vocabulary, compiled.maximum_length)
    masked = load_masked(store, name)[0]
    report = parity.check(
        parity.Models(masked, load_sliced(store, name)[0], None, exact),
        compiled.emitter,
        compiled.vocabulary,
        compiled.after.target_tokens,
        sentences,
        tokenizer.target_prefix,
        compiled.maximum_length,
    )
    if exact.parent == work:
        shutil.rmtree(exact)

    on_step(STEPS[2])
    manifest = _manifest(store, compiled, quantization, report.parity)
    translator = Translator.load(Bundle(directory, manifest), _CPU)
    measured = quality.measure(masked, compiled.tokenizer, translator, pairs, languages)
    golden = _golden(translator, tokenizer, sources, sentences)
    (directory / format_.GOLDEN_FILE).write_bytes(golden_bytes(golden))
    (directory / format_.ROUTING_FILE).write_bytes(store.routing(name).to_bytes())
    manifest = manifest.model_copy(update={"quality": measured, "files": sha256_files(directory)})
    (directory / format_.MANIFEST_FILE).write_bytes(manifest.to_bytes())
    built = Bundle.open(directory.rename(work / manifest.bundle_name))
    Translator.load(built, _CPU).replay_golden()
    return built, report.largest_difference


def _manifest(store: Store, compiled: Compiled, quantization: str, checked: format_.Parity) -> Manifest:
    """Everything but quality and files."""
    of_store, of_task = store.digest(compiled.before.domain)
    pair = store.description.languages
    return Manifest(
        domain=compiled.before.domain,
        languages=format_.Languages(source=pair.source, target=pair.target),
        engine=format_.EngineInfo(
            name=compiled.emitter.NAME, minimum_version=compiled.emitter.MINIMUM_VERSION, quantization=quantization
        ),
        passes=tuple(format_.PassInfo(name=name, report=report) for name, report in compiled.reports),
        widths=compiled.after.widths,
        maximum_length=compiled.maximum_length,
        source=format_.SourceInfo(store=of_store, task=of_task),
        parity=checked,
        quality=None,
        files={},
    )


def _golden(
    translator: Translator, tokenizer: Tokenizer, sources: Sequence[str], sentences: Sentences
) -> list[GoldenRecord]:
    """What the emitted model makes of the first samples, or of random sentences where the store keeps none."""
    texts = list(sources) or [tokenizer.decode(tokens) for tokens in sentences.tokens]
    longest = translator.bundle.manifest.maximum_length
    chosen = [text for text in texts if text.strip() and len(tokenizer.encode(text)) <= longest][:_GOLDEN]
    return [
        GoldenRecord(source=source, translation=translation.text)
        for source, translation in zip(chosen, translator.translate(chosen), strict=True)
    ]
