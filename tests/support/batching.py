"""What tests of batching share: real translators whose engine can be held up, watched, and made to fail."""

import threading
from collections.abc import Sequence
from pathlib import Path

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import Engine, Hypothesis, TranslationOptions
from fmalloc_runtime.errors import EngineError
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.translation import SourceBatch
from tests.support.bundles import CPU, SENTENCES

WAIT = 20.0  # seconds that nothing takes if the test passes
GREEDY = TranslationOptions(beam_size=1)
LINES = tuple(SENTENCES["it"])


class WatchedEngine:
    """The real engine behind a gate; `calls` are the sources and options of every call that has passed it.

    While the gate is shut, `arrived` counts the calls in front of it. A source that holds `poison` makes a call fail.
    """

    def __init__(self, engine: Engine) -> None:
        self.device = engine.device
        self.mixing = engine.mixing
        self.calls: list[tuple[list[tuple[str, ...]], TranslationOptions]] = []
        self.poison: str | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)
        self._engine = engine

    def translate(
        self, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
    ) -> list[tuple[Hypothesis, ...]]:
        self.arrived.release()
        assert self.gate.wait(WAIT)
        self.calls.append(([tuple(source) for source in sources], options))
        if any(self.poison in source for source in sources):
            raise EngineError(f"{self.poison} cannot be translated")
        return self._engine.translate(sources, target_prefix, options)

    def score(
        self, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], target_prefix: Sequence[str]
    ) -> list[float]:
        return self._engine.score(sources, targets, target_prefix)

    def shut(self) -> None:
        """Let no call pass from now on, and count those that come."""
        self.arrived = threading.Semaphore(0)
        self.gate.clear()

    def wait_for_call(self) -> None:
        """Until a call stands before the shut gate."""
        assert self.arrived.acquire(timeout=WAIT)


def load(bundle: Path) -> Translator:
    """A translator with an engine to watch."""
    translator = Translator.load(Bundle.open(bundle), CPU)
    return Translator(translator.bundle, translator.tokenizer, WatchedEngine(translator.engine))


def watched(translator: Translator) -> WatchedEngine:
    """The translator's engine."""
    assert isinstance(translator.engine, WatchedEngine)
    return translator.engine


def batch_of(translator: Translator, *texts: str, options: TranslationOptions = GREEDY) -> SourceBatch:
    """The batch of these texts, a sentence each."""
    return SourceBatch(tuple(tuple(translator.encode(text)) for text in texts), options)


def alone(translator: Translator, batch: SourceBatch) -> list[tuple[Hypothesis, ...]]:
    """What the quiet engine gives for each source by itself."""
    quiet = watched(translator)._engine
    prefix = translator.tokenizer.target_prefix
    return [quiet.translate([source], prefix, batch.options)[0] for source in batch.sources]
