"""Translation memories of domains: similar pairs in our own protocol, and the list of them in DeepL's."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import RouteAnswer, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.dialects import deepl, native
from fmalloc_runtime.api.fields import SERVED, Fields, String, Texts, texts_of
from fmalloc_runtime.api.languages import deepl_source
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.batching.service import TranslationRequest
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.memory.memory import Match, Memory
from fmalloc_runtime.routing.router import AUTO
from fmalloc_shared.languages import short_code

THRESHOLD = 70.0
MATCHES = 5
# Texts per request and characters per text: each is compared with a hundred pairs.
_TEXTS, _CHARACTERS = 50, 2_000


class MemoryFields(Fields):
    """Text to find in a domain's translation memory."""

    model_config = ConfigDict(extra="forbid")

    text: Texts = Field(description=f"the text to find, or a list of at most {_TEXTS} texts, routed together")
    domain: Annotated[String, Field(json_schema_extra={SERVED: "domains"})] | None = Field(
        None, description="a domain, or auto, the default"
    )
    threshold: Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, description=f"least similarity in per cent; {THRESHOLD:g} is the default"
    )
    matches: Annotated[int, Field(ge=1, le=50)] | None = Field(
        None, description=f"most matches per text; {MATCHES} is the default"
    )


class FoundMatch(BaseModel):
    """A pair; `similarity` of its source in per cent: 100 less the edits per character of the longer text."""

    source: str
    target: str
    similarity: float


class MemoryAnswer(BaseModel):
    """Matches per text, the most similar first, and the domain whose memory it was."""

    matches: list[list[FoundMatch]]
    domain: RouteAnswer


class TranslationMemory(BaseModel):
    """A domain's translation memory, by the names of DeepL; its id is the domain."""

    translation_memory_id: str
    name: str
    source_language: str
    target_languages: list[str]
    segment_count: int


class MemoriesAnswer(BaseModel):
    """All translation memories."""

    translation_memories: list[TranslationMemory]
    total_count: int


@dataclass(frozen=True)
class Memories:
    """The handlers."""

    backend: Backend

    @property
    def operations(self) -> list[Operation]:
        """All operations."""
        found = "Find similar pairs in a domain's translation memory"
        return [
            Operation("POST", "/v1/memory", found, self.similar, native.DIALECT, MemoryFields, MemoryAnswer),
            Operation(
                "GET", "/v3/translation_memories", "Translation memories", self.memories, deepl.DIALECT, None,
                MemoriesAnswer, keyed=True,
            ),
        ]  # fmt: skip

    async def similar(self, request: Request) -> Response:
        """Similar pairs of each text; this counts no characters."""
        wanted = await self.backend.read(request, MemoryFields, forms=False)
        texts = texts_of(wanted.text)
        if len(texts) > _TEXTS:
            raise BadRequestError(f"text has {len(texts)} texts: at most {_TEXTS} are compared per request")
        if long := [text for text in texts if len(text) > _CHARACTERS]:
            raise BadRequestError(f"a text has {len(long[0])} characters: at most {_CHARACTERS} are compared")
        route = await self.backend.route(request, TranslationRequest(texts, wanted.domain or AUTO))
        bundle = self.backend.service.registry.snapshot().bundles.get(route.domain)
        memory = bundle.memory() if bundle else None
        if memory is None:
            raise BadRequestError(
                f"domain {route.domain!r} has no translation memory: its operator may export one with --memory"
            )
        threshold, matches = wanted.threshold or THRESHOLD, wanted.matches or MATCHES
        found = await run_sync(partial(_similar, memory, texts, threshold, matches))
        shown = [
            [FoundMatch(source=one.source, target=one.target, similarity=one.similarity) for one in several]
            for several in found
        ]
        return answer(MemoryAnswer(matches=shown, domain=RouteAnswer.of(route)))

    async def memories(self, request: Request) -> Response:
        """The domains that have one; there is one page of them."""
        self.backend.enter(request)
        snapshot = self.backend.service.registry.snapshot()
        pair = snapshot.languages
        found = [
            TranslationMemory(
                translation_memory_id=name,
                name=name,
                source_language=deepl_source(pair.source).lower(),
                target_languages=[short_code(pair.target)],
                segment_count=bundle.manifest.memory.pairs,
            )
            for name, bundle in sorted(snapshot.bundles.items())
            if bundle.manifest.memory
        ]
        return answer(MemoriesAnswer(translation_memories=found, total_count=len(found)))


def _similar(memory: Memory, texts: tuple[str, ...], threshold: float, matches: int) -> list[list[Match]]:
    return [memory.similar(text, threshold, matches) for text in texts]
