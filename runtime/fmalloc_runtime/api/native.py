"""What no other protocol has: domains, routing without translating, and translations with all that is known of them."""

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import RouteAnswer, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.fields import texts_of
from fmalloc_runtime.api.native_fields import (
    DIALECT,
    Domain,
    DomainsAnswer,
    RouteFields,
    RouteOnly,
    Sentence,
    TranslateAnswer,
    Translated,
    TranslateFields,
)
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.bundle import Bundle
from fmalloc_runtime.router import AUTO
from fmalloc_runtime.service import Job
from fmalloc_runtime.snapshot import Snapshot
from fmalloc_runtime.text.job import SentenceTranslation, TextOptions, TextTranslation
from fmalloc_shared.names import GENERAL


class Native:
    """Its handlers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def operations(self) -> list[Operation]:
        """What it serves."""
        return [
            Operation(
                "GET",
                "/v1/domains",
                "Domains and their bundles",
                self.domains,
                DIALECT,
                None,
                DomainsAnswer,
                keyed=True,
            ),
            Operation(
                "POST",
                "/v1/route",
                "Find a text's domain",
                self.route,
                DIALECT,
                RouteFields,
                RouteOnly,
                keyed=True,
            ),
            Operation(
                "POST",
                "/v1/translate",
                "Translate text, with all that is known of it",
                self.translate,
                DIALECT,
                TranslateFields,
                TranslateAnswer,
                keyed=True,
                statuses=frozenset({456}),
            ),
        ]

    async def domains(self, request: Request) -> Response:
        """All domains that are served."""
        self._backend.enter(request)
        snapshot = self._backend.service.registry.snapshot()
        return answer(await run_sync(_described, snapshot))

    async def route(self, request: Request) -> Response:
        """Route without translating."""
        wanted = await self._backend.read(request, RouteFields, forms=False)
        options = TextOptions(format=wanted.format or "text")
        route = await self._backend.route(request, Job(texts_of(wanted.text), wanted.domain or AUTO, options=options))
        return answer(RouteOnly(domain=RouteAnswer.of(route)))

    async def translate(self, request: Request) -> Response:
        """Translate, with alternatives, sentences and alignments."""
        wanted = await self._backend.read(request, TranslateFields, forms=False)
        options = TextOptions(
            format=wanted.format or "text",
            splitting=wanted.split or "sentences",
            protect=wanted.protect is not False,
            ignore_tags=frozenset(wanted.ignore_tags or ()),
            search=self._backend.search(wanted.beam_size, wanted.max_length, wanted.alternatives, wanted.alignment),
        )
        job = Job(texts_of(wanted.text), wanted.domain or AUTO, options=options)
        found = await self._backend.translate(request, job)
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
    if sentence.alignment is None:
        return found
    return found.model_copy(update={"alignment": list(sentence.alignment)})


def _described(snapshot: Snapshot) -> DomainsAnswer:
    return DomainsAnswer(
        languages=snapshot.languages,
        threshold=snapshot.router.threshold,
        domains=[
            Domain(
                name=name,
                bundle=bundle.name,
                engine=bundle.manifest.engine.name,
                quantization=bundle.manifest.engine.quantization,
                level=bundle.manifest.level,
                loaded=snapshot.loaded(name) is not None,
                default=name == GENERAL,
                quality=bundle.manifest.quality,
                size_bytes=_size(bundle),
                widths=bundle.manifest.widths,
            )
            for name, bundle in sorted(snapshot.bundles.items())
        ],
    )


def _size(bundle: Bundle) -> int:
    """Bytes on disk; what a packed bundle shares with others is not its own."""
    return sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
