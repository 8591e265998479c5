"""Documents: uploaded, translated in the background through the same queue as texts, downloaded once, then gone."""

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from fmalloc_runtime.batching.collection import uncollected
from fmalloc_runtime.batching.service import Answer, Service, TranslationRequest
from fmalloc_runtime.errors import OverloadedError, RequestError
from fmalloc_runtime.files.document import Document, Limits, Source, Wanted, batches, text_options
from fmalloc_runtime.files.formats import FileFormat
from fmalloc_runtime.files.run import routed_lines
from fmalloc_runtime.routing.router import Route
from fmalloc_runtime.settings import Settings
from fmalloc_runtime.text.translation import TextOptions

State = Literal["queued", "translating", "done", "downloaded", "error"]
_log = logging.getLogger(__name__)
_FAILED = "the server failed to translate this document; see its log"
# So many documents are read, and so many translated, at once: a file that was read takes many times its bytes. The
# sentences of all share the queue with those of requests.
_READ_AT_ONCE, _AT_ONCE = 2, 4
# Text and markup of a document are at most so many times a unit's limit: reading takes up to 0.1 ms per byte.
_TEXT_UNITS = 10
# What a document counts for at least, so that there is a bounded number of them.
_LEAST_SIZE = 2**14
_RETRY_SECONDS = 5.0
# How long a client hears that its document was downloaded.
_DOWNLOADED_SECONDS = 60.0


@dataclass(frozen=True)
class Upload:
    """A file that a client wants translated, and how; `again`: also what is translated already."""

    name: str
    format: FileFormat
    data: bytes
    domain: str
    options: TextOptions
    again: bool = False


@dataclass(eq=False)
class DocumentJob:
    """A client's document on its way. `size`: the bytes that it counts for; `done`: texts so far, of `total`."""

    client: str
    upload: Upload
    characters: int
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    state: State = "queued"
    size: int = 0
    began: float = 0.0
    total: int = 0
    done: int = 0
    content: bytes = b""
    error: str = ""
    task: "asyncio.Task[None] | None" = None

    @property
    def seconds_remaining(self) -> int:
        """An estimate from the texts that are done, at least 1."""
        if not self.done:
            return max(1, self.characters // 1_000)
        return max(1, round((time.monotonic() - self.began) / self.done * (self.total - self.done)))

    async def settle(self, seconds: float) -> None:
        """Wait for so long until there is nothing left to wait for."""
        if self.task is not None and not self.task.done():
            await asyncio.wait({self.task}, timeout=seconds)


class Documents:
    """The documents of one process, in its memory: they do not survive it.

    `give_back` is called with the client and the characters of a document that was not translated after all.
    """

    def __init__(self, service: Service, settings: Settings, give_back: Callable[[str, int], None]) -> None:
        self._service = service
        self._settings = settings
        self._give_back = give_back
        self._jobs: dict[str, DocumentJob] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._limiter: CapacityLimiter | None = None
        service.metrics.documents_held.set_function(lambda: len(self._held()))

    def check_room(self, client: str, size: int) -> None:
        """Raise OverloadedError if there is no room for a document of so many bytes."""
        own = sum(job.client == client for job in self._held())
        held = sum(job.size for job in self._held())
        settings = self._settings
        if own < settings.documents and held + size <= settings.documents_limit:
            return
        self._service.metrics.refused.labels("documents").inc()
        problem = (
            f"{own} documents are here, {settings.documents} are allowed: download those that are done"
            if own >= settings.documents
            else "the server has no room for more documents now: try again"
        )
        raise OverloadedError(problem, _RETRY_SECONDS)

    async def read(self, upload: Upload) -> Document:
        """Read a file; FileFormatError or FileTooLargeError if that cannot be."""
        self._limiter = self._limiter or CapacityLimiter(_READ_AT_ONCE)
        return await run_sync(self._read, upload, limiter=self._limiter)

    def _read(self, upload: Upload) -> Document:
        unit = self._settings.text_limit
        limits = Limits(self._settings.document_limit, _TEXT_UNITS * unit, unit)
        wanted = Wanted(self._service.registry.snapshot().languages, upload.again, limits)
        with uncollected():
            return upload.format.read(upload.data, upload.name, wanted)

    def submit(self, client: str, upload: Upload, characters: int) -> DocumentJob:
        """Begin with a file that was read once, and for which there is room."""
        job = DocumentJob(client, upload, characters, size=max(len(upload.data), _LEAST_SIZE))
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._work(job))
        return job

    def find(self, id_: str, key: str, client: str) -> DocumentJob | None:
        """A client's document by its two names; None if there is none, or it is another client's."""
        job = self._jobs.get(id_)
        if job is None or job.client != client or not hmac.compare_digest(job.key.encode(), key.encode()):
            return None
        return job

    def take(self, job: DocumentJob) -> bytes:
        """The translation of a document that is done; it is not kept any longer."""
        content, job.content = job.content, b""
        job.state, job.size = "downloaded", 0
        self._forget_after(job, _DOWNLOADED_SECONDS)
        return content

    async def close(self) -> None:
        """Give up all documents."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._jobs.clear()

    def _held(self) -> list[DocumentJob]:
        """The documents that are not downloaded."""
        return [job for job in self._jobs.values() if job.state != "downloaded"]

    def _forget_after(self, job: DocumentJob, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._jobs.pop, job.id, None)

    async def _work(self, job: DocumentJob) -> None:
        try:
            async with self._slots:
                job.state, job.began = "translating", time.monotonic()
                job.content = await self._translated(job)
            job.state, job.size = "done", max(len(job.content), _LEAST_SIZE)
            self._service.metrics.documents.labels("done").inc()
        except Exception as error:
            self._give_back(job.client, job.characters)
            known = isinstance(error, RequestError)
            if not known:
                _log.error("a document failed", exc_info=error)
            job.error, job.state, job.size = str(error) if known else _FAILED, "error", _LEAST_SIZE
            self._service.metrics.documents.labels("failed").inc()
        finally:
            job.upload = Upload("", job.upload.format, b"", "", job.upload.options)
            self._forget_after(job, self._settings.document_seconds)

    async def _translated(self, job: DocumentJob) -> bytes:
        upload = job.upload
        document = await self.read(upload)
        sources = document.sources()
        job.total = len(sources)
        route = await self._route(sources, upload)
        found: dict[Source, str] = {}
        for batch in batches(sources):
            texts = tuple(source.text for source in batch)
            request = TranslationRequest(texts, route.domain, options=text_options(upload.options, batch))
            answer = await self._patiently(request)
            found |= {source: made.text for source, made in zip(batch, answer.translations, strict=True)}
            job.done += len(batch)
        return await run_sync(document.written, found)

    async def _route(self, sources: list[Source], upload: Upload) -> Route:
        """The domain of the whole document."""
        lines = await run_sync(routed_lines, sources, upload.options)
        return await self._service.route_apart(TranslationRequest(tuple(lines), upload.domain))

    async def _patiently(self, request: TranslationRequest) -> Answer:
        """A document waits until there is room in the queue."""
        while True:
            try:
                return await self._service.translate(request)
            except OverloadedError as error:
                await asyncio.sleep(error.retry_after)
