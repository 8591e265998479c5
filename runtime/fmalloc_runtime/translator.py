"""A bundle loaded: text in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass

from fmalloc_runtime.bundle import Bundle
from fmalloc_runtime.engine import CTranslate2Engine, Engine, TranslationOptions, ctranslate2_version
from fmalloc_runtime.errors import InputTooLongError
from fmalloc_runtime.tokenizer import Tokenizer
from fmalloc_shared.errors import FmallocError

DEFAULT_OPTIONS = TranslationOptions()


@dataclass(frozen=True)
class EngineSettings:
    """Where and how engines run; see CTranslate2Engine."""

    device: str = "auto"
    compute_type: str = "default"
    intra_threads: int = 0
    inter_threads: int = 1


@dataclass(frozen=True)
class Translation:
    """Output text; `score` as Hypothesis.score, None where nothing was there to translate."""

    text: str
    score: float | None


class Translator:
    """Tokenizer and engine of one bundle; safe to call from several threads at once."""

    def __init__(self, bundle: Bundle, tokenizer: Tokenizer, engine: Engine) -> None:
        self.bundle = bundle
        self.tokenizer = tokenizer
        self.engine = engine

    @classmethod
    def load(cls, bundle: Bundle, settings: EngineSettings | None = None) -> "Translator":
        """Load a verified bundle; FmallocError if no engine here can run it."""
        return cls(bundle, Tokenizer.load(bundle.tokenizer), _load_engine(bundle, settings or EngineSettings()))

    def translate(self, texts: Sequence[str], options: TranslationOptions = DEFAULT_OPTIONS) -> list[Translation]:
        """Translate each text as one sentence; blank texts come back as they are.

        Raises InputTooLongError, before anything is translated, if a text is longer than the model can take.
        """
        wanted = [index for index, text in enumerate(texts) if text.strip()]
        sources = [self._encode(texts[index], index) for index in wanted]
        hypotheses = self.engine.translate(sources, self.tokenizer.target_prefix, options)
        translations = [Translation(text, None) for text in texts]
        for index, hypothesis in zip(wanted, hypotheses, strict=True):
            translations[index] = Translation(self.tokenizer.decode(hypothesis.tokens), hypothesis.score)
        return translations

    def replay_golden(self) -> None:
        """Raise FmallocError with the first golden source whose translation is another now."""
        records = self.bundle.golden()
        translations = self.translate([record.source for record in records])
        for number, (record, translation) in enumerate(zip(records, translations, strict=True), start=1):
            if translation.text != record.translation:
                raise FmallocError(
                    f"{self.bundle.path}: golden.jsonl record {number}: {record.source!r} translates to "
                    f"{translation.text!r}, expected {record.translation!r}: this engine does not run the "
                    "bundle as it was compiled"
                )

    def _encode(self, text: str, index: int) -> list[str]:
        tokens = self.tokenizer.encode(text)
        allowed = self.bundle.manifest.maximum_length
        if len(tokens) > allowed:
            raise InputTooLongError(
                f"{len(tokens)} tokens in one line, {self.bundle.manifest.domain} can take {allowed}: "
                f"put line breaks between the sentences of {text[:60]!r}…",
                index,
            )
        return tokens


def _load_engine(bundle: Bundle, settings: EngineSettings) -> Engine:
    info = bundle.manifest.engine
    if info.name != "ctranslate2":
        raise FmallocError(f"{bundle.path}: engine {info.name!r} is not known here, expected 'ctranslate2'")
    if _parts(found := ctranslate2_version()) < _parts(info.minimum_version):
        raise FmallocError(
            f"{bundle.path}: needs CTranslate2 {info.minimum_version} or newer, found {found}: "
            f"pip install 'ctranslate2>={info.minimum_version}'"
        )
    return CTranslate2Engine(
        bundle.model,
        settings.device,
        settings.compute_type,
        settings.intra_threads,
        settings.inter_threads,
        maximum_length=bundle.manifest.maximum_length,
    )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
