"""A loaded bundle: text in, text out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.confidence import Estimator, Evidence
from fmalloc_runtime.engines.base import Engine, TranslationOptions, score_exactly, translate_exactly, version_tuple
from fmalloc_runtime.engines.ctranslate2 import CTranslate2Engine, ctranslate2_version
from fmalloc_runtime.engines.onnx import OnnxEngine, onnxruntime_version
from fmalloc_runtime.errors import InputTooLongError
from fmalloc_runtime.machine import return_freed_memory
from fmalloc_runtime.text.pipeline import work_on
from fmalloc_runtime.text.terms import Entry, Terms
from fmalloc_runtime.text.translation import Found, SourceBatch, TextOptions, TextTranslation, drive
from fmalloc_runtime.tokenizer.tokenizer import CONFIG_FILE, Tokenizer, TokenizerConfig
from fmalloc_shared.annotations import Markers, Note, memory_note
from fmalloc_shared.commands.command import needs
from fmalloc_shared.errors import FmallocError

DEFAULT_OPTIONS = TranslationOptions()
# Per cent; pairs that are less similar say too little.
_LEAST_SIMILAR = 50.0


class _EngineKind(NamedTuple):
    """An engine, its display name, its package, and the version that is installed."""

    load: Callable[..., Engine]
    name: str
    package: str
    version: Callable[[], str]


# By the manifest's name.
_ENGINES = {
    "ctranslate2": _EngineKind(CTranslate2Engine, "CTranslate2", "ctranslate2", ctranslate2_version),
    "onnx": _EngineKind(OnnxEngine, "ONNX Runtime", "onnxruntime", onnxruntime_version),
}


def check_engine(name: str, minimum_version: str, where: str) -> None:
    """See that an engine is installed that runs what needs `minimum_version`; FmallocError names `where` if not."""
    if name not in _ENGINES:
        known = " or ".join(map(repr, _ENGINES))
        raise FmallocError(f"{where}: engine {name!r} is not supported by this version, expected {known}")
    kind = _ENGINES[name]
    if version_tuple(found := kind.version()) < version_tuple(minimum_version):
        raise FmallocError(
            f"{where}: needs {kind.name} {minimum_version} or newer, found {found}: "
            f"pip install '{kind.package}>={minimum_version}'"
        )


def check_loadable(bundle: Bundle) -> None:
    """See, before anything is loaded, that what a bundle needs is installed; FmallocError names it if not."""
    engine = bundle.manifest.engine
    check_engine(engine.name, engine.minimum_version, str(bundle.path))
    if TokenizerConfig.read(bundle.tokenizer / CONFIG_FILE).kind == "moses":
        needs("sacremoses", extra="moses")


@dataclass(frozen=True)
class EngineSettings:
    """Where and how engines run; see CTranslate2Engine."""

    device: str = "auto"
    compute_type: str = "default"
    intra_threads: int = 0
    inter_threads: int = 1


@dataclass(frozen=True)
class Translation:
    """Output text; `score` as Hypothesis.score, None for a blank text."""

    text: str
    score: float | None


class Translator:
    """Tokenizer and engine of one bundle; safe to call from several threads at once.

    `terms`: the domain's own glossary, if it has one.
    """

    def __init__(self, bundle: Bundle, tokenizer: Tokenizer, engine: Engine) -> None:
        self.bundle = bundle
        self.tokenizer = tokenizer
        self.engine = engine
        confidence = bundle.manifest.confidence
        self._memory = bundle.memory()
        entries = [Entry(term.source, term.target) for term in bundle.glossary()]
        self.terms = Terms(entries, *bundle.manifest.languages) if entries else None
        self._estimator = Estimator(confidence, Evidence(bundle.routing(), tokenizer)) if confidence else None

    @classmethod
    def load(cls, bundle: Bundle, settings: EngineSettings | None = None) -> "Translator":
        """Load a verified bundle; FmallocError if no engine here can run it."""
        tokenizer = Tokenizer.load(bundle.tokenizer)
        _check_frame(bundle, tokenizer)
        engine = _load_engine(bundle, settings or EngineSettings())
        return_freed_memory()  # of the files that were read, and of models that left before
        return cls(bundle, tokenizer, engine)

    @property
    def source_language(self) -> str:
        """Code of the source language."""
        return self.bundle.manifest.languages.source

    @property
    def target_language(self) -> str:
        """Code of the target language."""
        return self.bundle.manifest.languages.target

    @property
    def maximum_length(self) -> int:
        """Tokens that the model has positions for, in a source or an output."""
        return self.bundle.manifest.maximum_length

    @property
    def term_markers(self) -> Markers | None:
        """What stands around a term's translation in a source, if the domain has learned to read it there."""
        return self.bundle.manifest.term_markers

    @property
    def beam_size(self) -> int | None:
        """The bundle's own, for requests that state none."""
        return self.bundle.manifest.beam_size

    def encode(self, text: str) -> list[str]:
        """The tokens that the engine reads."""
        return self.tokenizer.encode(text)

    def decode(self, tokens: Sequence[str]) -> str:
        """The text of the engine's tokens."""
        return self.tokenizer.decode(tokens)

    def needs_editing(self, source: str, translation: str, log_probability: float) -> float | None:
        """Estimated probability that a sentence's translation needs editing; None where the bundle has no estimate.

        `log_probability`: in nats per token.
        """
        if self._estimator is None:
            return None
        return self._estimator.needs_editing(source, translation, log_probability)

    def remembered(self, sources: Sequence[str]) -> dict[str, str]:
        """The translations of those sources that the bundle's memory has word for word; none without a memory."""
        return self._memory.exact(sources) if self._memory else {}

    def reminder(self, source: str) -> Note | None:
        """What to put beside a source: how the memory has a similar one; None without one, or if it is not read."""
        markers = self.bundle.manifest.memory_markers
        if self._memory is None or markers is None or markers.are_in(source):
            return None
        matches = self._memory.similar(source, _LEAST_SIMILAR, 1)
        return memory_note(len(source), matches[0].target, markers) if matches else None

    def translate(self, texts: Sequence[str], options: TranslationOptions = DEFAULT_OPTIONS) -> list[Translation]:
        """Translate each text as one sentence; blank texts come back unchanged.

        Raises InputTooLongError, before anything is translated, if a text has more tokens than the model has positions.
        """
        wanted = [index for index, text in enumerate(texts) if text.strip()]
        sources = [self._encode(texts[index]) for index in wanted]
        hypotheses = self.engine.translate(sources, self.tokenizer.target_prefix, options.within(self.beam_size))
        translations = [Translation(text, None) for text in texts]
        for index, (hypothesis, *_) in zip(wanted, hypotheses, strict=True):
            translations[index] = Translation(self.tokenizer.decode(hypothesis.tokens), hypothesis.score)
        return translations

    def translate_texts(self, texts: Sequence[str], options: TextOptions) -> list[TextTranslation]:
        """Translate whole texts, as the server does, in the calling thread."""
        return drive(work_on(texts, options, self), self.search)

    def search(self, batch: SourceBatch) -> Found:
        """The hypotheses of each source, batch-invariant: no source changes another's translation or score."""
        prefix = self.tokenizer.target_prefix
        if batch.targets:
            return score_exactly(self.engine, batch.sources, batch.targets, prefix)
        return translate_exactly(self.engine, batch.sources, prefix, batch.options)

    def replay_golden(self) -> None:
        """Raise FmallocError for the first golden source that no longer translates to what is recorded.

        Each is translated alone, since ONNX Runtime scales int8 activations over the whole batch.
        """
        for number, record in enumerate(self.bundle.golden(), start=1):
            (translation,) = self.translate([record.source])
            if translation.score is not None and not math.isfinite(translation.score):
                raise FmallocError(
                    f"{self.bundle.path}: golden.jsonl record {number}: the score is {translation.score}: the model "
                    "has values that are not finite"
                )
            if translation.text != record.translation:
                raise FmallocError(
                    f"{self.bundle.path}: golden.jsonl record {number}: {record.source!r} translates to "
                    f"{translation.text!r}, expected {record.translation!r}: this engine does not run the "
                    "bundle as it was compiled"
                )

    def _encode(self, text: str) -> list[str]:
        tokens = self.tokenizer.encode(text)
        allowed = self.bundle.manifest.maximum_length
        if len(tokens) > allowed:
            raise InputTooLongError(
                f"{len(tokens)} tokens in one line, {self.bundle.manifest.domain} takes at most {allowed}: "
                f"put line breaks between the sentences of {text[:60]!r}…"
            )
        return tokens


def _check_frame(bundle: Bundle, tokenizer: Tokenizer) -> None:
    """Raise FmallocError unless the model knows the tokens that the tokenizer puts around every text."""
    source, target = bundle.vocabularies()
    config = tokenizer.config
    for name, tokens, known in (
        ("source_prefix", config.source_prefix, source),
        ("source_suffix", config.source_suffix, source),
        ("target_prefix", config.target_prefix, target),
    ):
        if unknown := set(tokens).difference(known):
            raise FmallocError(
                f"{bundle.tokenizer / CONFIG_FILE}: {name}: {min(unknown)!r} is not in the model's vocabulary"
            )


def _load_engine(bundle: Bundle, settings: EngineSettings) -> Engine:
    files = bundle.model_files()
    try:
        return _engine(bundle, settings, files)
    except FmallocError:
        # The bundle may have been packed after `model_files` looked, so that the engine found no files.
        if files is not None or (files := bundle.model_files()) is None:
            raise
        return _engine(bundle, settings, files)


def _engine(bundle: Bundle, settings: EngineSettings, files: Mapping[str, bytes] | None) -> Engine:
    info = bundle.manifest.engine
    check_engine(info.name, info.minimum_version, str(bundle.path))
    return _ENGINES[info.name].load(
        bundle.model,
        settings.device,
        settings.compute_type,
        settings.intra_threads,
        settings.inter_threads,
        maximum_length=bundle.manifest.maximum_length,
        files=files,
    )
