"""DeepL's protocol, version 2, as CAT tools and Weblate use it: translate, languages, usage; with `domain` added."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import Dialect, MessageAnswer, RouteAnswer, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.dialects.deepl_fields import (
    GlossaryPairs,
    KeyFields,
    Language,
    LanguageCodes,
    LanguagesAnswer,
    LanguagesFields,
    TranslateAnswer,
    TranslatedText,
    TranslateFields,
    UsageAnswer,
)
from fmalloc_runtime.api.glossaries import terms_of
from fmalloc_runtime.api.languages import deepl_source, deepl_targets, is_language, language_name
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.batching.service import Answer
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.routing.router import AUTO
from fmalloc_shared.languages import LanguagePair, short_code

DIALECT = Dialect("DeepL", MessageAnswer, overloaded=529, forms=True)
# What DeepL answers if nothing is limited; its clients expect a number.
_UNLIMITED = 1_000_000_000_000
_QUOTA = frozenset({456, 529})


@dataclass(frozen=True)
class DeepL:
    """The handlers of this dialect."""

    backend: Backend

    @property
    def operations(self) -> list[Operation]:
        """All operations; GET and POST are alike, as DeepL's are."""
        found = [
            operation
            for method in ("GET", "POST")
            for operation in (
                Operation(
                    method,
                    "/v2/translate",
                    "Translate text",
                    self.translate,
                    DIALECT,
                    TranslateFields,
                    TranslateAnswer,
                    _QUOTA,
                ),
                Operation(
                    method,
                    "/v2/languages",
                    "Languages",
                    self.languages,
                    DIALECT,
                    LanguagesFields,
                    LanguagesAnswer,
                    _QUOTA,
                ),
                Operation(
                    method, "/v2/usage", "Characters translated this month", self.usage, DIALECT, KeyFields, UsageAnswer
                ),
            )
        ]
        pairs = "Language pairs with glossaries"
        return [
            *found,
            Operation("GET", "/v2/glossary-language-pairs", pairs, self.glossaries, DIALECT, None, GlossaryPairs),
        ]

    async def translate(self, request: Request) -> Response:
        """Translate up to 50 texts, routed together."""
        wanted = await self.backend.read(request, TranslateFields)
        check_languages(self.backend.languages, wanted.source_lang, wanted.target_lang)
        if wanted.translation_memory_id:
            self._check_memory(wanted.translation_memory_id)
        terms = await terms_of(self.backend, request, wanted.glossaries)
        translation = wanted.translation(self.backend.search(), terms)
        found = await self.backend.translate(request, translation)
        texts = _translated(found, translation.texts, billed=bool(wanted.show_billed_characters))
        return answer(TranslateAnswer(translations=texts, domain=RouteAnswer.of(found.route)))

    def _check_memory(self, name: str) -> None:
        """BadRequestError unless a domain of this name has a translation memory."""
        bundle = self.backend.service.registry.snapshot().bundles.get(name)
        if bundle is None or bundle.manifest.memory is None:
            raise BadRequestError(
                f"Value for 'translation_memory_id' not supported: no domain {name[:80]!r} with a translation memory"
            )

    async def languages(self, request: Request) -> Response:
        """The source language, or the variants of the target language that DeepL's clients ask for."""
        wanted = await self.backend.read(request, LanguagesFields)
        self.backend.enter(request)
        pair = self.backend.languages
        if wanted.type != "target":
            return answer(
                LanguagesAnswer([Language(language=deepl_source(pair.source), name=language_name(pair.source))])
            )
        targets = deepl_targets(pair.target)
        return answer(
            LanguagesAnswer([Language(language=code, name=name, supports_formality=False) for code, name in targets])
        )

    async def usage(self, request: Request) -> Response:
        """The characters that this key has translated this month, and its quota."""
        await self.backend.read(request, KeyFields)
        usage = self.backend.usage(request)
        limit = _UNLIMITED if usage.limit is None else usage.limit
        return answer(UsageAnswer(character_count=usage.characters, character_limit=limit))

    async def glossaries(self, _request: Request) -> Response:
        """The pair that is served, where glossaries are kept; Weblate asks before it sends one."""
        if not self.backend.glossaries.on:
            return answer(GlossaryPairs(supported_languages=[]))
        source, target = map(short_code, self.backend.languages)
        return answer(GlossaryPairs(supported_languages=[LanguageCodes(source_lang=source, target_lang=target)]))


def check_languages(pair: LanguagePair, source: str | None, target: str) -> None:
    """BadRequestError, in DeepL's words, unless the languages that are asked for are those that are served."""
    if source and source.lower() != AUTO and not is_language(source, pair.source):
        expected = deepl_source(pair.source)
        raise BadRequestError(f"Value for 'source_lang' not supported: {source[:20]!r}, expected {expected!r}")
    if not is_language(target, pair.target):
        expected = " or ".join(repr(code) for code, _ in deepl_targets(pair.target))
        raise BadRequestError(f"Value for 'target_lang' not supported: {target[:20]!r}, expected {expected}")


def _translated(found: Answer, texts: tuple[str, ...], *, billed: bool) -> list[TranslatedText]:
    source = deepl_source(found.languages.source)
    results = []
    for text, translation in zip(texts, found.translations, strict=True):
        extra: dict[str, object] = {"billed_characters": len(text)} if billed else {}
        if translation.needs_editing is not None:
            extra["needs_editing"] = round(translation.needs_editing, 3)
        result = TranslatedText(detected_source_language=source, text=translation.text)
        results.append(result.model_copy(update=extra))
    return results
