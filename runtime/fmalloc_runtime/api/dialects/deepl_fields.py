"""What DeepL's requests and answers hold."""

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field, RootModel, WithJsonSchema

from fmalloc_runtime.api.answers import RouteAnswer
from fmalloc_runtime.api.fields import SERVED, Fields, Flag, String, Tags, Texts, texts_of, texts_schema
from fmalloc_runtime.api.glossaries import MOST_IDS
from fmalloc_runtime.batching.service import TranslationRequest
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.routing.router import AUTO
from fmalloc_runtime.text.terms import Terms
from fmalloc_runtime.text.translation import Splitting, TextOptions

TEXTS_LIMIT = 50


# They would change the translation in ways that no model here can; to ignore them silently would be wrong.
_REFUSED = ("style_id", "custom_instructions")


_SPLITTING: dict[str, Splitting] = {"0": "none", "1": "sentences", "nonewlines": "sentences"}


_LINE_END = re.compile(r"\r\n|\n|\r")


def _number(value: object) -> object:
    return str(value) if value in (0, 1) and isinstance(value, int) and not isinstance(value, bool) else value


_Split = Annotated[
    Literal["0", "1", "nonewlines"],
    BeforeValidator(_number),
    WithJsonSchema({"enum": ["0", "1", "nonewlines", 0, 1]}),
]


_Refused = Annotated[object, WithJsonSchema({"enum": [None, "", []], "description": "not supported"})]


class KeyFields(Fields):
    """A request whose key may be a field or in the query, as DeepL's older clients send it."""

    key: ClassVar[str | None] = "auth_key"

    auth_key: String | None = None


class LanguagesFields(KeyFields):
    """One side of the language pair; the source is the default."""

    type: Literal["source", "target"] | None = None


class TranslateFields(KeyFields):
    """Text to translate; unknown fields are ignored, as DeepL does.

    `context` helps to find the domain. `preserve_formatting`, `outline_detection` and `model_type` change nothing:
    formatting is always kept, tags that end sentences are known by name, and a domain has one model.
    """

    several: ClassVar[frozenset[str]] = frozenset(
        {"text", "ignore_tags", "splitting_tags", "non_splitting_tags", "glossary_ids", "custom_instructions"}
    )

    text: Annotated[Texts, texts_schema(TEXTS_LIMIT, least=1)] = Field(
        description="the text to translate, or a list of texts"
    )
    target_lang: String = Field(
        min_length=1, max_length=35, description="a language code", json_schema_extra={SERVED: "deepl_targets"}
    )
    source_lang: Annotated[String, Field(max_length=35, json_schema_extra={SERVED: "deepl_sources"})] | None = None
    domain: Annotated[String, Field(json_schema_extra={SERVED: "domains"})] | None = Field(
        None, description="a domain, or auto"
    )
    context: String | None = None
    split_sentences: _Split | None = None
    preserve_formatting: Flag = None
    formality: Literal["default", "prefer_more", "prefer_less"] | None = None
    tag_handling: Literal["xml", "html", ""] | None = None
    outline_detection: Flag = None
    splitting_tags: Tags = None
    non_splitting_tags: Tags = None
    ignore_tags: Tags = None
    model_type: Literal["latency_optimized", "quality_optimized", "prefer_quality_optimized"] | None = None
    show_billed_characters: Flag = None
    glossary_id: Annotated[String, Field(max_length=100)] | None = None
    glossary_ids: Annotated[list[String], Field(max_length=MOST_IDS)] | None = Field(
        None, description="of two that have one term, the first counts"
    )
    style_id: _Refused = None
    translation_memory_id: String | None = Field(
        None, description="a domain with a translation memory, from which exact matches are answered"
    )
    translation_memory_threshold: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="changes nothing: a match that is not exact is of another sentence, and is never an answer"
    )
    custom_instructions: _Refused = None

    @property
    def glossaries(self) -> list[str]:
        """The ids of the glossaries; BadRequestError if they are named twice, or without the source language."""
        return named_glossaries(self.glossary_id, self.glossary_ids, self.source_lang)

    def translation(self, search: TranslationOptions, terms: Terms | None = None) -> TranslationRequest:
        """The request for the service; BadRequestError for what no model here can do."""
        for name in _REFUSED:
            if getattr(self, name):
                raise BadRequestError(f"{name} is not supported here: leave it out")
        texts = texts_of(self.text)
        if not 1 <= len(texts) <= TEXTS_LIMIT:
            raise BadRequestError(f"text is given {len(texts)} times: expected 1 to {TEXTS_LIMIT} texts per request")
        if self.split_sentences == "nonewlines" and not self.tag_handling:
            texts = tuple(map(_without_newlines, texts))
        options = TextOptions(
            format=self.tag_handling or "text",
            splitting=_SPLITTING[self.split_sentences or "1"],
            ignore_tags=frozenset(self.ignore_tags or ()),
            splitting_tags=frozenset(self.splitting_tags or ()),
            non_splitting_tags=frozenset(self.non_splitting_tags or ()),
            terms=terms,
            memory=bool(self.translation_memory_id),
            search=search,
        )
        domain = self.domain or AUTO
        if self.translation_memory_id and domain not in (AUTO, self.translation_memory_id):
            raise BadRequestError(
                f"translation_memory_id is {self.translation_memory_id[:80]!r}, domain {domain[:80]!r}: a memory is "
                "that of its domain"
            )
        domain = self.translation_memory_id or domain
        return TranslationRequest(texts, domain, self.context or "", options)


class TranslatedText(BaseModel):
    """One translation; `billed_characters` if they were asked for.

    `needs_editing`: the highest of its sentences' estimates, where the domain has them.
    """

    detected_source_language: str
    text: str
    billed_characters: int = 0
    needs_editing: float | None = None


class TranslateAnswer(BaseModel):
    """Translations in the order of the texts."""

    translations: list[TranslatedText]
    domain: RouteAnswer


class Language(BaseModel):
    """A language; `supports_formality` of targets only."""

    language: str
    name: str
    supports_formality: bool = False


class LanguagesAnswer(RootModel[list[Language]]):
    """All languages of one side."""


class UsageAnswer(BaseModel):
    """Characters of this month; if nothing is limited, the limit is 10 to the power of 12, as DeepL's is then."""

    character_count: int
    character_limit: int


class LanguageCodes(BaseModel):
    """A language pair."""

    source_lang: str
    target_lang: str


class GlossaryPairs(BaseModel):
    """Language pairs with glossaries."""

    supported_languages: list[LanguageCodes]


def named_glossaries(id_: str | None, ids: Sequence[str] | None, source: str | None) -> list[str]:
    """The ids that a request names; BadRequestError if it names them twice, or without the source language."""
    if id_ and ids:
        raise BadRequestError("glossary_id and glossary_ids are given: expected one of them")
    found = [id_] if id_ else list(ids or ())
    if found and not source:
        raise BadRequestError("source_lang is missing: expected it with a glossary")
    return found


def _without_newlines(text: str) -> str:
    """The text with single line ends as spaces; blank lines still separate paragraphs."""

    def joined(space: re.Match[str]) -> str:
        inside = space.start() > 0 and space.end() < len(text)
        return " " if inside and len(_LINE_END.findall(space[0])) == 1 else space[0]

    return re.sub(r"\s+", joined, text)
