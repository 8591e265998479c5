"""LibreTranslate's protocol: /translate and /suggest with `domain` added, /languages, /detect, /frontend/settings."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field, RootModel
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import Dialect, RouteAnswer, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.corrections import take
from fmalloc_runtime.api.fields import LIMIT, SERVED, Fields, String, Texts, texts_of
from fmalloc_runtime.api.languages import language_name
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.batching.service import TranslationRequest
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.routing.router import AUTO
from fmalloc_runtime.text.translation import TextOptions, TextTranslation
from fmalloc_shared.languages import short_code

DIALECT = Dialect("LibreTranslate", forms=True)


class TranslateFields(Fields):
    """Text to translate; unknown fields are ignored, as LibreTranslate does."""

    several: ClassVar[frozenset[str]] = frozenset({"q"})
    key: ClassVar[str | None] = "api_key"

    q: Texts = Field(description="the text to translate, or a list of texts")
    source: String = Field(
        min_length=1, max_length=35, description="a language code, or auto", json_schema_extra={SERVED: "sources"}
    )
    target: String = Field(
        min_length=1, max_length=35, description="a language code", json_schema_extra={SERVED: "targets"}
    )
    format: Literal["text", "html", ""] | None = Field(None, description="text, the default, or html")
    alternatives: Annotated[int, Field(ge=0, json_schema_extra={LIMIT: "alternatives_limit"})] | None = None
    domain: Annotated[String, Field(json_schema_extra={SERVED: "domains"})] | None = Field(
        None, description="a domain, or auto"
    )
    api_key: String | None = None


class DetectFields(Fields):
    """Text whose language is asked for."""

    several: ClassVar[frozenset[str]] = frozenset({"q"})
    key: ClassVar[str | None] = "api_key"

    q: Texts = Field(description="the text to detect the language of")
    api_key: String | None = None


class SuggestFields(Fields):
    """A better translation; unknown fields are ignored."""

    key: ClassVar[str | None] = "api_key"

    q: Annotated[String, Field(json_schema_extra={LIMIT: "text_limit"})] = Field(
        description="the text that was translated"
    )
    s: Annotated[String, Field(json_schema_extra={LIMIT: "text_limit"})] = Field(
        description="how it should have been translated"
    )
    source: String = Field(
        min_length=1, max_length=35, description="a language code, or auto", json_schema_extra={SERVED: "sources"}
    )
    target: String = Field(
        min_length=1, max_length=35, description="a language code", json_schema_extra={SERVED: "targets"}
    )
    domain: Annotated[String, Field(json_schema_extra={SERVED: "domains"})] | None = Field(
        None, description="a domain, or auto"
    )
    api_key: String | None = None


class SuggestAnswer(BaseModel):
    """The suggestion is kept, or was already."""

    success: bool


class Detected(BaseModel):
    """The one source language that is served. It is not detected from the text: confidence is always 0, of 100."""

    confidence: float
    language: str


class TranslateAnswer(BaseModel):
    """Lists if `q` was one; `alternatives` if they were asked for, `detectedLanguage` if `source` was auto.

    `needs_editing`: of each text the highest of its sentences' estimates, where the domain has them.
    """

    translatedText: str | list[str]  # noqa: N815 - LibreTranslate's name
    alternatives: list[str] | list[list[str]] = []
    detectedLanguage: Detected | list[Detected] | None = None  # noqa: N815 - LibreTranslate's name
    domain: RouteAnswer
    needs_editing: float | list[float | None] | None = None


class DetectAnswer(RootModel[list[Detected]]):
    """Candidates, best first."""


class Language(BaseModel):
    """A language, and those that it can be translated into."""

    code: str
    name: str
    targets: list[str]


class LanguagesAnswer(RootModel[list[Language]]):
    """All languages."""


class LanguageName(BaseModel):
    """A language."""

    code: str
    name: str


class LanguageNames(BaseModel):
    """Source and target language."""

    source: LanguageName
    target: LanguageName


class FrontendSettings(BaseModel):
    """Limits and features, for pages of LibreTranslate's clients."""

    charLimit: int  # noqa: N815 - LibreTranslate's names
    frontendTimeout: int  # noqa: N815
    apiKeys: bool  # noqa: N815
    keyRequired: bool  # noqa: N815
    suggestions: bool
    filesTranslation: bool  # noqa: N815
    supportedFilesFormat: list[str]  # noqa: N815
    language: LanguageNames


@dataclass(frozen=True)
class LibreTranslate:
    """The handlers of this dialect."""

    backend: Backend

    @property
    def operations(self) -> list[Operation]:
        """All operations."""
        return [
            Operation(
                "POST", "/translate", "Translate text", self.translate, DIALECT, TranslateFields, TranslateAnswer, {456}
            ),
            Operation(
                "POST", "/suggest", "Suggest a better translation", self.suggest, DIALECT, SuggestFields, SuggestAnswer,
                {507},
            ),
            Operation("GET", "/languages", "Languages", self.languages, DIALECT, None, LanguagesAnswer),
            Operation("POST", "/detect", "The source language", self.detect, DIALECT, DetectFields, DetectAnswer),
            Operation("GET", "/frontend/settings", "Limits, for pages", self.frontend, DIALECT, None, FrontendSettings),
        ]  # fmt: skip

    async def translate(self, request: Request) -> Response:
        """Translate one text or several."""
        wanted = await self.backend.read(request, TranslateFields)
        search = self.backend.search(alternatives=wanted.alternatives)
        self.backend.check_languages(wanted.source, wanted.target)
        options = TextOptions(format=wanted.format or "text", search=search)
        translation = TranslationRequest(texts_of(wanted.q), wanted.domain or AUTO, options=options)
        found = await self.backend.translate(request, translation)
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
        doubts = [None if (doubt := text.needs_editing) is None else round(doubt, 3) for text in found.translations]
        if any(doubt is not None for doubt in doubts):
            extra["needs_editing"] = doubts[0] if one else doubts
        return answer(content.model_copy(update=extra))

    async def suggest(self, request: Request) -> Response:
        """Keep a correction; what is refused is an error, with the reason."""
        wanted = await self.backend.read(request, SuggestFields)
        self.backend.check_languages(wanted.source, wanted.target)
        _, (outcome,) = await take(self.backend, request, [(wanted.q, wanted.s)], wanted.domain or AUTO)
        if outcome.reason is not None:
            raise BadRequestError(f"the suggestion is refused: {outcome.reason}")
        return answer(SuggestAnswer(success=True))

    async def languages(self, _request: Request) -> Response:
        """The language pair that is served; nothing is translated from the target."""
        source, target = self._pair()
        languages = [
            Language(code=source.code, name=source.name, targets=[target.code]),
            Language(code=target.code, name=target.name, targets=[]),
        ]
        return answer(LanguagesAnswer(languages))

    async def detect(self, request: Request) -> Response:
        """Name the one source language."""
        await self.backend.read(request, DetectFields)
        self.backend.enter(request)
        return answer(DetectAnswer([_detected(self.backend.languages.source)]))

    async def frontend(self, _request: Request) -> Response:
        """Limits and languages."""
        settings, (source, target) = self.backend.settings, self._pair()
        keys = settings.keys is not None
        return answer(
            FrontendSettings(
                charLimit=settings.text_limit,
                frontendTimeout=500,
                apiKeys=keys,
                keyRequired=keys,
                suggestions=self.backend.corrections.on,
                filesTranslation=False,
                supportedFilesFormat=[],
                language=LanguageNames(source=source, target=target),
            )
        )

    def _pair(self) -> tuple[LanguageName, LanguageName]:
        pair = self.backend.languages
        source, target = (
            LanguageName(code=short_code(code), name=language_name(code)) for code in (pair.source, pair.target)
        )
        return source, target


def _detected(language: str) -> Detected:
    return Detected(confidence=0.0, language=short_code(language))


def _distinct(translation: TextTranslation) -> list[str]:
    """The alternatives that differ from the translation and from each other."""
    return [text for text in dict.fromkeys(translation.alternatives) if text != translation.text]
