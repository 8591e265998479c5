"""Our own protocol: domains, routing alone, translations with sentences and alignments, and corrections."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from anyio.to_thread import run_sync
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import Dialect, RouteAnswer, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.corrections import take
from fmalloc_runtime.api.dialects.domains import DomainsAnswer, Features, described
from fmalloc_runtime.api.fields import LIMIT, SERVED, Fields, String, Tags, Texts, texts_of
from fmalloc_runtime.api.glossaries import terms_of
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.batching.service import Answer, TranslationRequest
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.routing.router import AUTO
from fmalloc_runtime.text.translation import (
    Format,
    Numbers,
    SentenceTranslation,
    Splitting,
    TextOptions,
    TextTranslation,
)

DIALECT = Dialect("fmalloc")
_Domain = Annotated[String, Field(json_schema_extra={SERVED: "domains"})]
_Span = tuple[int, int]


class RouteFields(Fields):
    """Text to route to a domain."""

    model_config = ConfigDict(extra="forbid")

    text: Texts = Field(description="the text to route, or a list of texts that are routed together")
    domain: _Domain | None = Field(None, description="a domain, or auto, the default")
    format: Format | None = Field(None, description="the format of the text; text, the default, has no markup")


class TranslateFields(RouteFields):
    """Text to translate, and options."""

    text: Texts = Field(description="the text to translate, or a list of texts that are routed together")
    beam_size: Annotated[int, Field(ge=1, json_schema_extra={LIMIT: "beam_limit"})] | None = Field(
        None, description="the beam size, 1 for greedy search; without it, the bundle's own"
    )
    max_length: Annotated[int, Field(ge=1)] | None = Field(
        None, description="most tokens per translated sentence; the model's limit is the default"
    )
    alternatives: Annotated[int, Field(ge=0, json_schema_extra={LIMIT: "alternatives_limit"})] | None = Field(
        None, description="how many alternative translations to add; 0 is the default"
    )
    alignment: bool | None = Field(None, description="whether to add word alignments")
    split: Splitting | None = Field(None, description="the unit of translation; sentences is the default")
    protect: bool | None = Field(
        None,
        description="whether to preserve placeholders, addresses and unknown signs, and numbers where the sentence "
        "stays likely; true is the default",
    )
    ignore_tags: Tags = Field(None, description="elements whose content is not translated")
    glossary: dict[String, String] | None = Field(
        None, description="terms and how each is to be translated; they count before those of glossary_id"
    )
    glossary_id: String | None = Field(None, max_length=100, description="a glossary that this server keeps")
    memory: bool | None = Field(
        None,
        description="whether sentences that the domain's translation memory has word for word are answered from it; "
        "false is the default",
    )


class CorrectionFields(Fields):
    """Corrections of translations, one line each."""

    model_config = ConfigDict(extra="forbid")

    source: Texts = Field(description="the text that was translated, or a list of texts that are routed together")
    target: Texts = Field(description="how it should have been translated; a list as long as source")
    domain: _Domain | None = Field(None, description="a domain, or auto, the default")


class RouteOnly(BaseModel):
    """The route that the text would take."""

    domain: RouteAnswer


class Sentence(BaseModel):
    """One sentence. `alignment`, if it was asked for: pairs of character spans [begin, end), source first.

    `log_probability`: of the translation, in nats per token; it ranks alternatives and does not measure quality.
    `numbers`: whether the model kept the source's numbers, dates and references (or it has none), they were restored,
    or some are missing; absent if `protect` is false. `missing`: those, as the source has them. `needs_editing`: the
    estimated probability that a translator would have to change it; absent where the bundle has no estimate.
    `remembered`: true where the translation memory had it; absent elsewhere. `terms`: those of the glossary that the
    source has, as character spans [begin, end) in source and translation; null where the translation lacks it. Absent
    where no glossary was named.
    """

    source: str
    translation: str
    log_probability: float | None
    alignment: list[tuple[_Span, _Span]] | None = None
    numbers: Numbers | None = None
    missing: list[str] = []
    needs_editing: Annotated[float, Field(ge=0, le=1)] | None = None
    remembered: bool = False
    terms: list[tuple[_Span, _Span | None]] | None = None


class Translated(BaseModel):
    """A whole text."""

    text: str
    alternatives: list[str]
    sentences: list[Sentence]


class TranslateAnswer(BaseModel):
    """Translations in the order of the texts, the route that they took together, and seconds per stage."""

    translations: list[Translated]
    domain: RouteAnswer
    seconds: dict[str, float]


class CorrectionOutcome(BaseModel):
    """`kept` on disk, `known` already, or `refused` for a reason."""

    result: Literal["kept", "known", "refused"]
    reason: str | None = None


class CorrectionsAnswer(BaseModel):
    """What became of each correction, in their order, and the domain that they belong to."""

    corrections: list[CorrectionOutcome]
    domain: RouteAnswer


@dataclass(frozen=True)
class Native:
    """The handlers of this dialect."""

    backend: Backend

    @property
    def operations(self) -> list[Operation]:
        """All operations."""
        return [
            Operation(
                "GET",
                "/v1/domains",
                "Domains and bundles",
                self.domains,
                DIALECT,
                None,
                DomainsAnswer,
                keyed=True,
            ),
            Operation("POST", "/v1/route", "Find a text's domain", self.route, DIALECT, RouteFields, RouteOnly),
            Operation(
                "POST",
                "/v1/translate",
                "Translate text, with sentences, alternatives and alignments",
                self.translate,
                DIALECT,
                TranslateFields,
                TranslateAnswer,
                {456},
            ),
            Operation(
                "POST",
                "/v1/corrections",
                "Keep corrections of translations, to be learned from",
                self.correct,
                DIALECT,
                CorrectionFields,
                CorrectionsAnswer,
                {507},
            ),
        ]

    async def domains(self, request: Request) -> Response:
        """All domains that are served."""
        self.backend.enter(request)
        snapshot = self.backend.service.registry.snapshot()
        features = Features.of(self.backend.settings)
        return answer(await run_sync(described, snapshot, features))

    async def route(self, request: Request) -> Response:
        """Route without translating."""
        wanted = await self.backend.read(request, RouteFields, forms=False)
        options = TextOptions(format=wanted.format or "text")
        route = await self.backend.route(
            request, TranslationRequest(texts_of(wanted.text), wanted.domain or AUTO, options=options)
        )
        return answer(RouteOnly(domain=RouteAnswer.of(route)))

    async def correct(self, request: Request) -> Response:
        """Keep corrections; each that is garbage is refused by itself."""
        wanted = await self.backend.read(request, CorrectionFields, forms=False)
        sources, targets = texts_of(wanted.source), texts_of(wanted.target)
        if len(sources) != len(targets):
            raise BadRequestError(f"source has {len(sources)} texts, target {len(targets)}: they must correspond")
        pairs = list(zip(sources, targets, strict=True))
        route, outcomes = await take(self.backend, request, pairs, wanted.domain or AUTO)
        found = [
            CorrectionOutcome(result=outcome.result, reason=outcome.reason)
            if outcome.reason
            else CorrectionOutcome(result=outcome.result)
            for outcome in outcomes
        ]
        return answer(CorrectionsAnswer(corrections=found, domain=RouteAnswer.of(route)))

    async def translate(self, request: Request) -> Response:
        """Translate, with alternatives, sentences and alignments."""
        wanted = await self.backend.read(request, TranslateFields, forms=False)
        ids = [wanted.glossary_id] if wanted.glossary_id else []
        options = TextOptions(
            format=wanted.format or "text",
            splitting=wanted.split or "sentences",
            protect=wanted.protect is not False,
            ignore_tags=frozenset(wanted.ignore_tags or ()),
            terms=await terms_of(self.backend, request, ids, wanted.glossary),
            memory=bool(wanted.memory),
            search=self.backend.search(wanted.beam_size, wanted.max_length, wanted.alternatives, wanted.alignment),
        )
        translation = TranslationRequest(texts_of(wanted.text), wanted.domain or AUTO, options=options)
        found = await self.backend.translate(request, translation)
        return await self.backend.service.apart(translation, partial(_answer, found))


def _answer(found: Answer) -> Response:
    return answer(
        TranslateAnswer(
            translations=[_translated(translation) for translation in found.translations],
            domain=RouteAnswer.of(found.route),
            seconds=found.seconds,
        )
    )


def _translated(translation: TextTranslation) -> Translated:
    return Translated(
        text=translation.text,
        alternatives=list(translation.alternatives),
        sentences=[_sentence(sentence) for sentence in translation.sentences],
    )


def _sentence(sentence: SentenceTranslation) -> Sentence:
    found = Sentence(source=sentence.source, translation=sentence.translation, log_probability=sentence.score)
    asked: dict[str, object] = {}
    if sentence.numbers is not None:
        asked |= {"numbers": sentence.numbers, "missing": list(sentence.missing)}
    if sentence.alignment is not None:
        asked["alignment"] = list(sentence.alignment)
    if sentence.needs_editing is not None:
        asked["needs_editing"] = round(sentence.needs_editing, 3)
    if sentence.remembered:
        asked["remembered"] = True
    if sentence.terms is not None:
        asked["terms"] = list(sentence.terms)
    return found.model_copy(update=asked)
