"""DeepL's protocol, version 2, as CAT tools and Weblate speak it: translate, languages, usage; with `domain` added."""

from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import RouteAnswer, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.deepl_fields import (
    DIALECT,
    GlossaryPairs,
    KeyFields,
    Language,
    LanguagesAnswer,
    LanguagesFields,
    TranslateAnswer,
    TranslatedText,
    TranslateFields,
    UsageAnswer,
)
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.languages import deepl_source, deepl_targets, is_language, language_name
from fmalloc_runtime.router import AUTO
from fmalloc_runtime.service import Answer

# What DeepL answers where nothing is limited; its clients expect a number.
_UNLIMITED = 1_000_000_000_000
_QUOTA = frozenset({456, 529})


class DeepL:
    """Its handlers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def operations(self) -> list[Operation]:
        """What it serves, with GET and POST alike where DeepL does."""
        pairs = "Language pairs with glossaries: none"
        return [
            *(
                Operation(
                    method,
                    "/v2/translate",
                    "Translate text",
                    self.translate,
                    DIALECT,
                    TranslateFields,
                    TranslateAnswer,
                    forms=True,
                    keyed=True,
                    statuses=_QUOTA,
                )
                for method in ("GET", "POST")
            ),
            *(
                Operation(
                    method,
                    "/v2/languages",
                    "Languages",
                    self.languages,
                    DIALECT,
                    LanguagesFields,
                    LanguagesAnswer,
                    forms=True,
                    keyed=True,
                    statuses=_QUOTA,
                )
                for method in ("GET", "POST")
            ),
            *(
                Operation(
                    method,
                    "/v2/usage",
                    "Characters translated this month",
                    self.usage,
                    DIALECT,
                    KeyFields,
                    UsageAnswer,
                    forms=True,
                    keyed=True,
                )
                for method in ("GET", "POST")
            ),
            Operation("GET", "/v2/glossary-language-pairs", pairs, self.glossaries, DIALECT, response=GlossaryPairs),
        ]

    async def translate(self, request: Request) -> Response:
        """Translate up to 50 texts, routed together."""
        wanted = await self._backend.read(request, TranslateFields)
        self._check_languages(wanted.source_lang, wanted.target_lang)
        job = wanted.job(self._backend.search())
        found = await self._backend.translate(request, job, wanted.auth_key)
        return answer(
            TranslateAnswer(translations=_translated(found, job.texts, wanted), domain=RouteAnswer.of(found.route))
        )

    async def languages(self, request: Request) -> Response:
        """The source language, or the variants of the target language that DeepL's clients ask for."""
        wanted = await self._backend.read(request, LanguagesFields)
        self._backend.enter(request, wanted.auth_key)
        pair = self._backend.languages
        if wanted.type != "target":
            return answer(
                LanguagesAnswer([Language(language=deepl_source(pair.source), name=language_name(pair.source))])
            )
        targets = deepl_targets(pair.target)
        return answer(
            LanguagesAnswer([Language(language=code, name=name, supports_formality=False) for code, name in targets])
        )

    async def usage(self, request: Request) -> Response:
        """What this key has translated this month, and how much it may."""
        wanted = await self._backend.read(request, KeyFields)
        usage = self._backend.usage(request, wanted.auth_key)
        limit = _UNLIMITED if usage.limit is None else usage.limit
        return answer(UsageAnswer(character_count=usage.characters, character_limit=limit))

    async def glossaries(self, _request: Request) -> Response:
        """No pair has glossaries; Weblate asks before it sends one."""
        return answer(GlossaryPairs(supported_languages=[]))

    def _check_languages(self, source: str | None, target: str) -> None:
        pair = self._backend.languages
        if source and source.lower() != AUTO and not is_language(source, pair.source):
            expected = deepl_source(pair.source)
            raise BadRequestError(f"Value for 'source_lang' not supported: {source[:20]!r}, expected {expected!r}")
        if not is_language(target, pair.target):
            expected = " or ".join(repr(code) for code, _ in deepl_targets(pair.target))
            raise BadRequestError(f"Value for 'target_lang' not supported: {target[:20]!r}, expected {expected}")


def _translated(found: Answer, texts: tuple[str, ...], wanted: TranslateFields) -> list[TranslatedText]:
    source = deepl_source(found.languages.source)
    results = []
    for text, translation in zip(texts, found.translations, strict=True):
        result = TranslatedText(detected_source_language=source, text=translation.text)
        results.append(
            result.model_copy(update={"billed_characters": len(text)}) if wanted.show_billed_characters else result
        )
    return results
