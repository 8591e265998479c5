"""From a translation request to its answer. HTTP and other front ends only translate between formats."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from fmalloc_runtime import machine
from fmalloc_runtime.batching.admission import Admission
from fmalloc_runtime.batching.batcher import Batcher
from fmalloc_runtime.batching.collection import uncollected
from fmalloc_runtime.bundle.signature import TrustedKeys
from fmalloc_runtime.errors import NotReadyError
from fmalloc_runtime.live.loading import Lease
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.snapshot import Snapshot
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.routing.decisions import DecisionLog
from fmalloc_runtime.routing.router import AUTO, Route
from fmalloc_runtime.settings import Settings
from fmalloc_runtime.text.pipeline import plain_lines, work_on
from fmalloc_runtime.text.translation import Found, SourceBatch, TextOptions, TextTranslation, advance
from fmalloc_shared.languages import LanguagePair

# Texts of up to so many characters are prepared on the event loop: a thread would take longer than the work.
_INLINE_CHARACTERS = 4_000
# What each text adds to its characters in a request's weight: its objects take memory, however short it is.
_TEXT_WEIGHT = 64
_CLOSE_SECONDS = 1.0
_T = TypeVar("_T")


@dataclass(frozen=True)
class TranslationRequest:
    """What a client wants translated; `context` helps routing and is not translated."""

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
        """What the request counts for in admission control, in characters; context and number of texts add some."""
        return self.characters + len(self.context) + _TEXT_WEIGHT * len(self.texts)

    @property
    def is_long(self) -> bool:
        """Whether work on the texts would keep the event loop from others."""
        return self.weight > _INLINE_CHARACTERS


@dataclass(frozen=True)
class Answer:
    """Translations of the texts in their order, the route that they took together, and seconds per stage.

    The stages: `route`, `load` (waiting for the domain's model, near 0 if it is in memory), `tokenise` (text to
    sentences to tokens and back), `queue` (until the first sentence was started), `inference` (until the last ended).
    """

    translations: list[TextTranslation]
    route: Route
    languages: LanguagePair
    seconds: dict[str, float]


class Service:
    """Routes and translates: one per process, for all requests. It owns the parts that it is made of."""

    def __init__(
        self, registry: Registry, batcher: Batcher, admission: Admission, metrics: Metrics, decisions: DecisionLog
    ) -> None:
        self.registry = registry
        self.batcher = batcher
        self.admission = admission
        self.metrics = metrics
        self.decisions = decisions
        # Threads take turns with the interpreter: several would be no faster, and the event loop would wait for each.
        self._reading = CapacityLimiter(1)
        metrics.decisions_lost.set_function(lambda: decisions.lost)

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics | None = None) -> "Service":
        """A service with these settings. It serves nothing before its registry has loaded the bundles."""
        workers = workers_of(settings)
        engines = EngineSettings(settings.device, settings.compute_type, settings.threads, workers)
        metrics = metrics or Metrics()
        trusted = TrustedKeys.read(settings.trusted_keys) if settings.trusted_keys else None
        registry = Registry(settings.bundles, engines, settings.memory, settings.preload, metrics, trusted)
        batcher = Batcher(workers, settings.batch_tokens, settings.batch_wait, metrics, exact=settings.exact)
        decisions = DecisionLog(settings.decisions, settings.decisions_text)
        return cls(registry, batcher, Admission(settings.queue_characters, metrics), metrics, decisions)

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, metrics: Metrics | None = None) -> Iterator["Service"]:
        """A service that has loaded the live bundles and watches for changes until the block is left.

        Raises FmallocError if the bundles cannot be served.
        """
        service = cls.of(settings, metrics)
        try:
            service.registry.load()
            with service.registry.watch(settings.poll_seconds):
                yield service
        finally:
            service.close()

    def close(self) -> None:
        """Take nothing new, give running work a second, and close the decision log."""
        self.batcher.close(_CLOSE_SECONDS)
        self.decisions.close()

    def route(self, request: TranslationRequest, snapshot: Snapshot | None = None) -> Route:
        """The domain of the request's texts, and why; nothing is translated."""
        return (snapshot or self.registry.snapshot()).router.route(_routed_lines(request), request.domain)

    async def translate(self, request: TranslationRequest) -> Answer:
        """Translate a request. Raises a RequestError, such as OverloadedError, before anything is translated.

        Raises NotReadyError if no bundles are served yet or the domain's model cannot be loaded. Cancelling the caller
        takes its sentences out of the queue.
        """
        with self.admission.admit(request.weight), uncollected() if request.is_long else nullcontext():
            seconds: dict[str, float] = {}
            snapshot, route, lease = await self._lease(request, seconds)
            try:
                self.metrics.routes.labels(route.domain, "no" if request.domain == AUTO else "yes").inc()
                if self.decisions.on:
                    texts = await self.apart(request, partial(_routed_texts, request))
                    self.decisions.record(request.domain, texts, route)
                translations = await self._translate(request, lease.ready.result(), seconds)
            finally:
                lease.release()
            self.metrics.characters.labels(route.domain).inc(request.characters)
            sentences = (sentence for translation in translations for sentence in translation.sentences)
            for result, count in Counter(sentence.numbers for sentence in sentences if sentence.numbers).items():
                self.metrics.numbers.labels(route.domain, result).inc(count)
            return Answer(translations, route, snapshot.languages, seconds)

    async def route_apart(self, request: TranslationRequest) -> Route:
        """As `route`, off the event loop."""
        return await self._in_thread(partial(self.route, request))

    async def _lease(self, request: TranslationRequest, seconds: dict[str, float]) -> tuple[Snapshot, Route, Lease]:
        """Route the request and claim its domain's model, of the same snapshot; the caller releases the lease."""
        while True:
            began = time.perf_counter()
            snapshot = self.registry.snapshot()
            route = await self.apart(request, partial(self.route, request, snapshot))
            routed = time.perf_counter()
            lease = snapshot.lease(route.domain)
            try:
                await _done(lease.ready)
            except BaseException as error:
                lease.release()
                # The bundle may be gone because another has replaced it in the meantime.
                if isinstance(error, NotReadyError) and snapshot is not self.registry.snapshot():
                    continue
                raise
            seconds |= {"route": routed - began, "load": time.perf_counter() - routed}
            return snapshot, route, lease

    async def _translate(
        self, request: TranslationRequest, translator: Translator, seconds: dict[str, float]
    ) -> list[TextTranslation]:
        work = work_on(request.texts, request.options, translator)
        seconds |= {"tokenise": 0.0, "queue": 0.0, "inference": 0.0}
        found: Found | None = None
        try:
            while True:
                began = time.perf_counter()
                step = await self.apart(request, partial(advance, work, found))
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
        finally:
            # What is left of cancelled work would wait for the collector, and the event loop for that. It cannot be
            # closed while its thread runs, which who was cancelled twice did not wait for.
            with suppress(ValueError):
                work.close()

    async def apart(self, request: TranslationRequest, work: Callable[[], _T]) -> _T:
        """The result of work on a request's texts, done in a thread if they are long."""
        if not request.is_long:
            return work()
        return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """The result of work done in a thread, one at a time. Whoever is cancelled waits for its thread to end.

        Until then its texts are held in memory, and so count in admission control.
        """
        async with self._reading:
            running = asyncio.ensure_future(run_sync(_uncollected, work))
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait([running])
                running.exception()
                raise


def _uncollected(work: Callable[[], _T]) -> _T:
    with uncollected():
        return work()


def _routed_lines(request: TranslationRequest) -> list[str]:
    """What the router scores: lines without markup, and the context."""
    lines = plain_lines(request.texts, request.options)
    return [*lines, *plain_lines((request.context,), TextOptions())] if request.context else lines


def _routed_texts(request: TranslationRequest) -> list[str]:
    """The same per text, as the decision log keeps it."""
    texts = ["\n".join(plain_lines((text,), request.options)) for text in request.texts]
    return [*texts, request.context] if request.context else texts


async def _done(future: Future[_T]) -> _T:
    return future.result() if future.done() else await asyncio.wrap_future(future)


def workers_of(settings: Settings) -> int:
    """How many batches run at once: as set, else one on a GPU, else as many as the CPUs have room for."""
    if settings.workers:
        return settings.workers
    if settings.device == "cuda" or (settings.device == "auto" and machine.cuda_devices()):
        return 1
    return max(1, int(machine.cpus()) // max(settings.threads, 1))
