"""Texts of several requests that Triton hands over at once."""

from collections.abc import Sequence
from pathlib import Path

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import Hypothesis, TranslationOptions
from fmalloc_runtime.errors import EngineError
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.translation import TextOptions, TextTranslation
from fmalloc_runtime.triton.documents import Request, translate_together
from fmalloc_shared.errors import FmallocError
from tests.support.bundles import CPU, SENTENCES, bundle_of


def texts_of(outcome: list[TextTranslation] | FmallocError) -> list[str]:
    """The translations; scores differ in the last bits with what else is in a batch."""
    assert isinstance(outcome, list), outcome
    return [item.text for item in outcome]


def test_requests_translated_together_are_as_alone(bundles: Path) -> None:
    translator = Translator.load(Bundle.open(bundle_of(bundles, "it")), CPU)
    requests = [Request(tuple(lines), TextOptions()) for lines in SENTENCES.values()]
    requests += [Request(tuple(SENTENCES["it"][:2]), TextOptions(splitting="lines")), Request((), TextOptions())]
    together = [texts_of(outcome) for outcome in translate_together(translator, requests)]
    assert together == [texts_of(translate_together(translator, [request])[0]) for request in requests]
    assert together[1] == [item.text for item in translator.translate(SENTENCES["it"])]


class Failing:
    """The engine of a translator, which fails on one source."""

    def __init__(self, translator: Translator, source: str) -> None:
        self._engine, self._source = translator.engine, translator.encode(source)
        self.device, self.mixing = translator.engine.device, translator.engine.mixing

    def translate(
        self, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
    ) -> list[tuple[Hypothesis, ...]]:
        if any(list(source) == self._source for source in sources):
            raise EngineError("the engine failed")
        return self._engine.translate(sources, target_prefix, options)


def test_a_request_that_fails_harms_no_other(bundles: Path) -> None:
    translator = Translator.load(Bundle.open(bundle_of(bundles, "it")), CPU)
    good, bad = Request(("Guten Tag.",), TextOptions()), Request(("Der Server.",), TextOptions())
    expected = texts_of(translate_together(translator, [good])[0])
    translator.engine = Failing(translator, "Der Server.")
    first, second, third = translate_together(translator, [good, bad, good])
    assert texts_of(first) == texts_of(third) == expected
    assert isinstance(second, EngineError)
