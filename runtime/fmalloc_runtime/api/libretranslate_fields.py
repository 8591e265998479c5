"""What LibreTranslate's clients send and are answered."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field, RootModel

from fmalloc_runtime.api.answers import Dialect, RouteAnswer
from fmalloc_runtime.api.fields import LIMIT, SERVED, Fields, String, Texts

DIALECT = Dialect("LibreTranslate")


class TranslateFields(Fields):
    """Text to translate; unknown fields are ignored, as LibreTranslate does."""

    several: ClassVar[frozenset[str]] = frozenset({"q"})

    q: Texts = Field(description="the text to translate, or a list of texts")
    source: String = Field(
        min_length=1, max_length=35, description="a language code, or auto", json_schema_extra={SERVED: "sources"}
    )
    target: String = Field(
        min_length=1, max_length=35, description="a language code", json_schema_extra={SERVED: "targets"}
    )
    format: Literal["text", "html"] | None = None
    alternatives: Annotated[int, Field(ge=0, json_schema_extra={LIMIT: "alternatives_limit"})] | None = None
    domain: Annotated[String, Field(json_schema_extra={SERVED: "domains"})] | None = Field(
        None, description="a domain, or auto"
    )
    api_key: String | None = None


class DetectFields(Fields):
    """Text to name the language of."""

    several: ClassVar[frozenset[str]] = frozenset({"q"})

    q: Texts = Field(description="the text to detect the language of")
    api_key: String | None = None


class Detected(BaseModel):
    """There is one source language, so nothing is detected: the confidence, of 100, is 0."""

    confidence: float
    language: str


class TranslateAnswer(BaseModel):
    """A list where `q` was one; `alternatives` where they were asked for, `detectedLanguage` where source was auto."""

    translatedText: str | list[str]  # noqa: N815 - LibreTranslate's name
    alternatives: list[str] | list[list[str]] = []
    detectedLanguage: Detected | list[Detected] | None = None  # noqa: N815 - LibreTranslate's name
    domain: RouteAnswer


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


class LanguagePair(BaseModel):
    """What is translated into what."""

    source: LanguageName
    target: LanguageName


class FrontendSettings(BaseModel):
    """What LibreTranslate's clients ask for to draw their page."""

    charLimit: int  # noqa: N815 - LibreTranslate's names
    frontendTimeout: int  # noqa: N815
    apiKeys: bool  # noqa: N815
    keyRequired: bool  # noqa: N815
    suggestions: bool
    filesTranslation: bool  # noqa: N815
    supportedFilesFormat: list[str]  # noqa: N815
    language: LanguagePair
