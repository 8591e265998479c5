"""A request for translation, from text to answer; HTTP and other front ends only change its shape."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from anyio.to_thread import run_sync

from fmalloc_runtime.batching.admission import Admission
from fmalloc_runtime.batching.batcher import Batcher
from fmalloc_runtime.engines.base import Hypothesis
from fmalloc_runtime.errors import NotReadyError
from fmalloc_runtime.live.loading import Lease
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.snapshot import Snapshot
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.routing.decisions import DecisionLog
from fmalloc_runtime.routing.router import AUTO, Route
from fmalloc_runtime.text.pipeline import plain_lines, translate_texts
from fmalloc_runtime.text.translation import SourceBatch, TextOptions, TextTranslation, Work
from fmalloc_shared.languages import LanguagePair

# Texts up to here are prepared on the event loop: a thread would take longer than the work.
_INLINE_CHARACTERS = 4_000
# What each text of a request weighs beside its characters: objects take memory, however short it is.
_TEXT_WEIGHT = 64
_T = TypeVar("_T")


@dataclass(frozen=True)
class TranslationRequest:
    """What a client wants translated; `context` helps to route and is not translated."""

    texts: tuple[str, ...]
    domain: str = AUTO
    context: str = ""
    options: TextOptions = field(default_factory=TextOptions)

    @property
    def characters(self) -> int:
        """Of all texts together."""
        return sum(map(len, self.texts))

    @property
    def weight(self) -> int:
        """Characters that the request counts for where work in flight is bounded: context and texts add some."""
        return self.characters + len(self.context) + _TEXT_WEIGHT * len(self.texts)


@dataclass(frozen=True)
class Answer:
    """Translations of the texts in their order, the route that they took together, and seconds of each stage.

    The stages: `route`, `load` (waiting for the domain's model, near 0 where it is in memory), `tokenise` (text to
    sentences to tokens and back), `queue` (until the first sentence was begun), `inference` (until the last was done).
    """

    translations: list[TextTranslation]
    route: Route
    languages: LanguagePair
    seconds: dict[str, float]


class Service:
    """Routes and translates; one for all requests of a process."""

    def __init__(
        self, registry: Registry, batcher: Batcher, admission: Admission, metrics: Metrics, decisions: DecisionLog
    ) -> None:
        self.registry = registry
        self.batcher = batcher
        self.admission = admission
        self.metrics = metrics
        self.decisions = decisions
        metrics.decisions_lost.set_function(lambda: decisions.lost)

    def route(self, request: TranslationRequest, snapshot: Snapshot | None = None) -> Route:
        """Which domain's model takes the request, and why; nothing is translated."""
        return (snapshot or self.registry.snapshot()).router.route(_routed_lines(request), request.domain)

    async def translate(self, request: TranslationRequest) -> Answer:
        """Translate a request. Raises a RequestError, OverloadedError among them, before anything is translated.

        NotReadyError means that no bundles are served yet, or that the domain's model cannot be loaded. A caller
        that is cancelled takes its sentences out of the queue.
        """
        with self.admission.admit(request.weight):
            seconds: dict[str, float] = {}
            snapshot, route, lease = await self._lease(request, seconds)
            try:
                self.metrics.routes.labels(route.domain, "no" if request.domain == AUTO else "yes").inc()
                if self.decisions.on:
                    self.decisions.record(request.domain, _routed_texts(request), route)
                translations = await self._translate(request, lease.ready.result(), seconds)
            finally:
                lease.release()
            self.metrics.characters.labels(route.domain).inc(request.characters)
            return Answer(translations, route, snapshot.languages, seconds)

    async def _lease(self, request: TranslationRequest, seconds: dict[str, float]) -> tuple[Snapshot, Route, Lease]:
        """Route the request and claim the model that it takes, of the same snapshot; the caller releases it."""
        while True:
            began = time.perf_counter()
            snapshot = self.registry.snapshot()
            route = await self._step(request, partial(self.route, request, snapshot))
            routed = time.perf_counter()
            lease = snapshot.lease(route.domain)
            try:
                await _done(lease.ready)
            except BaseException as error:
                lease.release()
                # A bundle may be gone because another took its place meanwhile.
                if isinstance(error, NotReadyError) and snapshot is not self.registry.snapshot():
                    continue
                raise
            seconds |= {"route": routed - began, "load": time.perf_counter() - routed}
            return snapshot, route, lease

    async def _translate(
        self, request: TranslationRequest, translator: Translator, seconds: dict[str, float]
    ) -> list[TextTranslation]:
        work = translate_texts(request.texts, request.options, translator)
        seconds |= {"tokenise": 0.0, "queue": 0.0, "inference": 0.0}
        found: list[tuple[Hypothesis, ...]] | None = None
        while True:
            began = time.perf_counter()
            step = await self._step(request, partial(_advance, work, found))
            submitted = time.perf_counter()
            seconds["tokenise"] += submitted - began
            if not isinstance(step, SourceBatch):
                self.metrics.stage("tokenise", seconds["tokenise"])
                return step
            task = self.batcher.submit(translator, step)
            found = await _done(task)
            queued = task.queued or 0.0
            seconds["queue"] += queued
            seconds["inference"] += time.perf_counter() - submitted - queued

    async def _step(self, request: TranslationRequest, work: Callable[[], _T]) -> _T:
        return work() if request.weight <= _INLINE_CHARACTERS else await run_sync(work)


def _routed_lines(request: TranslationRequest) -> list[str]:
    """What the router reads: without markup, with the context."""
    lines = plain_lines(request.texts, request.options)
    return [*lines, *plain_lines((request.context,), TextOptions())] if request.context else lines


def _routed_texts(request: TranslationRequest) -> list[str]:
    """The same, text by text, as it is logged."""
    texts = ["\n".join(plain_lines((text,), request.options)) for text in request.texts]
    return [*texts, request.context] if request.context else texts


async def _done(future: Future[_T]) -> _T:
    return future.result() if future.done() else await asyncio.wrap_future(future)


def _advance(work: Work, found: list[tuple[Hypothesis, ...]] | None) -> SourceBatch | list[TextTranslation]:
    try:
        return next(work) if found is None else work.send(found)
    except StopIteration as done:
        translations: list[TextTranslation] = done.value
        return translations
