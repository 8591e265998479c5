"""What clients of our own protocol send and are answered."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from fmalloc_runtime.api.answers import Dialect, RouteAnswer
from fmalloc_runtime.api.fields import LIMIT, SERVED, Fields, String, Tags, Texts
from fmalloc_runtime.bundle import Languages
from fmalloc_runtime.manifest import Quality
from fmalloc_runtime.text.job import Format, Splitting

DIALECT = Dialect("fmalloc")
_Domain = Annotated[String, Field(json_schema_extra={SERVED: "domains"})]
_Span = tuple[int, int]


class RouteFields(Fields):
    """Text to find the domain of."""

    model_config = ConfigDict(extra="forbid")

    text: Texts = Field(description="the text to route, or a list of texts that are routed together")
    domain: _Domain | None = Field(None, description="a domain, or auto, the default")
    format: Format | None = Field(None, description="what the text is; text, the default, has no markup")


class TranslateFields(RouteFields):
    """Text to translate, and how."""

    text: Texts = Field(description="the text to translate, or a list of texts that are routed together")
    beam_size: Annotated[int, Field(ge=1, json_schema_extra={LIMIT: "beam_limit"})] | None = Field(
        None, description="hypotheses that are followed at once"
    )
    max_length: Annotated[int, Field(ge=1)] | None = Field(
        None, description="the most tokens of a sentence's translation; without it, as many as the model can"
    )
    alternatives: Annotated[int, Field(ge=0, json_schema_extra={LIMIT: "alternatives_limit"})] | None = Field(
        None, description="how many of the next best translations to add; 0 is the default"
    )
    alignment: bool | None = Field(None, description="whether to say which part of a sentence became which")
    split: Splitting | None = Field(None, description="what is translated as one; sentences is the default")
    protect: bool | None = Field(
        None,
        description="whether placeholders, URLs, e-mail addresses and numbers come out as they went in (true)",
    )
    ignore_tags: Tags = Field(None, description="elements whose content is not translated")


class RouteOnly(BaseModel):
    """Where the text would go."""

    domain: RouteAnswer


class Sentence(BaseModel):
    """One sentence; `alignment` where it was asked for: pairs of spans, [begin, end) in characters, source first.

    `log_probability`: of the translation, in nats a token; it ranks alternatives and says nothing about quality.
    """

    source: str
    translation: str
    log_probability: float | None
    alignment: list[tuple[_Span, _Span]] | None = None


class Translated(BaseModel):
    """A whole text."""

    text: str
    alternatives: list[str]
    sentences: list[Sentence]


class TranslateAnswer(BaseModel):
    """Translations in the order of the texts, the route that they took together, and seconds of each stage."""

    translations: list[Translated]
    domain: RouteAnswer
    seconds: dict[str, float]


class Domain(BaseModel):
    """A domain that is served. `default`: what is unsure goes there; `loaded`: its model is in memory now."""

    name: str
    bundle: str
    engine: str
    quantization: str
    level: str
    loaded: bool
    default: bool
    quality: Quality | None
    size_bytes: int
    widths: dict[str, int]


class DomainsAnswer(BaseModel):
    """All domains. `threshold`: the posterior that a text needs to leave the default domain."""

    languages: Languages
    threshold: float
    domains: list[Domain]
