"""LibreTranslate's protocol: /translate with `domain` added, /languages, /detect."""

from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import RouteAnswer, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.fields import texts_of
from fmalloc_runtime.api.libretranslate_fields import (
    DIALECT,
    DetectAnswer,
    Detected,
    DetectFields,
    FrontendSettings,
    Language,
    LanguageName,
    LanguagePair,
    LanguagesAnswer,
    TranslateAnswer,
    TranslateFields,
)
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.languages import language_name, short_code
from fmalloc_runtime.router import AUTO
from fmalloc_runtime.service import Job
from fmalloc_runtime.text.job import TextOptions, TextTranslation


class LibreTranslate:
    """Its handlers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def operations(self) -> list[Operation]:
        """What it serves."""
        return [
            Operation(
                "POST",
                "/translate",
                "Translate text",
                self.translate,
                DIALECT,
                TranslateFields,
                TranslateAnswer,
                forms=True,
                keyed=True,
                statuses=frozenset({456}),
            ),
            Operation("GET", "/languages", "Languages", self.languages, DIALECT, response=LanguagesAnswer),
            Operation(
                "POST",
                "/detect",
                "The source language",
                self.detect,
                DIALECT,
                DetectFields,
                DetectAnswer,
                forms=True,
                keyed=True,
            ),
            Operation(
                "GET", "/frontend/settings", "Limits, for pages", self.frontend, DIALECT, response=FrontendSettings
            ),
        ]

    async def translate(self, request: Request) -> Response:
        """Translate one text or several."""
        wanted = await self._backend.read(request, TranslateFields)
        search = self._backend.search(alternatives=wanted.alternatives)
        self._backend.check_languages(wanted.source, wanted.target)
        options = TextOptions(format=wanted.format or "text", search=search)
        job = Job(texts_of(wanted.q), wanted.domain or AUTO, options=options)
        found = await self._backend.translate(request, job, wanted.api_key)
        texts = [translation.text for translation in found.translations]
        alternatives = [_distinct(translation) for translation in found.translations]
        one = isinstance(wanted.q, str)
        content = TranslateAnswer(translatedText=texts[0] if one else texts, domain=RouteAnswer.of(found.route))
        extra: dict[str, object] = {}
        if wanted.alternatives:
            extra["alternatives"] = alternatives[0] if one else alternatives
        if wanted.source.lower() == AUTO:
            detected = _detected(found.languages.source)
            extra["detectedLanguage"] = detected if one else [detected] * len(texts)
        return answer(content.model_copy(update=extra))

    async def languages(self, _request: Request) -> Response:
        """The pair that is served; nothing is translated from the target."""
        pair = self._backend.languages
        source, target = (short_code(code) for code in (pair.source, pair.target))
        return answer(
            LanguagesAnswer(
                [
                    Language(code=source, name=language_name(source), targets=[target]),
                    Language(code=target, name=language_name(target), targets=[]),
                ]
            )
        )

    async def detect(self, request: Request) -> Response:
        """Name the one source language."""
        wanted = await self._backend.read(request, DetectFields)
        self._backend.enter(request, wanted.api_key)
        return answer(DetectAnswer([_detected(self._backend.languages.source)]))

    async def frontend(self, _request: Request) -> Response:
        """Limits and languages."""
        settings, pair = self._backend.settings, self._backend.languages
        keys = settings.keys is not None
        source, target = (
            LanguageName(code=short_code(code), name=language_name(code)) for code in (pair.source, pair.target)
        )
        return answer(
            FrontendSettings(
                charLimit=settings.text_limit,
                frontendTimeout=500,
                apiKeys=keys,
                keyRequired=keys,
                suggestions=False,
                filesTranslation=False,
                supportedFilesFormat=[],
                language=LanguagePair(source=source, target=target),
            )
        )


def _detected(language: str) -> Detected:
    return Detected(confidence=0.0, language=short_code(language))


def _distinct(translation: TextTranslation) -> list[str]:
    """The alternatives that say something else."""
    return [text for text in dict.fromkeys(translation.alternatives) if text != translation.text]
