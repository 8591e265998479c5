"""What all dialects do with a request: read it, admit it, check its limits, route and translate it."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request

from fmalloc_runtime.access.gatekeeper import Gatekeeper, Usage
from fmalloc_runtime.api.bodies import DRAIN_BYTES, Sent, UploadedFile, discard, read_sent, read_upload
from fmalloc_runtime.api.fields import Fields
from fmalloc_runtime.api.languages import is_language
from fmalloc_runtime.batching.service import Answer, Service, TranslationRequest
from fmalloc_runtime.corrections.log import CorrectionLog
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.errors import BadRequestError, BodyTooLargeError, UnauthorizedError, UnsupportedLanguagesError
from fmalloc_runtime.glossaries.store import GlossaryStore
from fmalloc_runtime.logs import note
from fmalloc_runtime.routing.router import AUTO, Route
from fmalloc_runtime.settings import Settings
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair, short_code

_SCHEMES = ("deepl-auth-key", "bearer")
_F = TypeVar("_F", bound=Fields)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Backend:
    """The service, limits, gatekeeper, log of corrections and glossaries behind all dialects."""

    service: Service
    settings: Settings
    gate: Gatekeeper
    corrections: CorrectionLog
    glossaries: GlossaryStore

    async def read(self, request: Request, model: type[_F], *, forms: bool = True) -> _F:
        """The checked fields of a request; RequestError if they are wrong.

        Where keys are needed, UnauthorizedError before the body is read, or, if the key may be a field of it and is
        not elsewhere, before its other fields are checked.
        """
        limit = self.settings.body_limit
        key = await self._early_key(request, model, limit)
        drain = DRAIN_BYTES if self.gate.knows(key) else limit
        sent = await read_sent(request, limit, forms=forms, drain=drain)
        self._settle_key(request, model, key, sent)
        return await run_sync(model.of, sent) if sent.is_large else model.of(sent)

    async def read_upload(self, request: Request, model: type[_F], size: int) -> tuple[_F, UploadedFile]:
        """The checked fields of a form, and its file of at most `size` bytes; errors as of `read`."""
        key = await self._early_key(request, model, size)
        sent, file = await read_upload(request, size)
        self._settle_key(request, model, key, sent)
        return model.of(sent), file

    async def _early_key(self, request: Request, model: type[_F], limit: int) -> str | None:
        """The key, checked, that stands outside of the body; of a client without one, the body is discarded."""
        key = credential_of(request) or request.query_params.get(model.key or "") or None
        try:
            if key or model.key is None:
                self.gate.check(key)
        except UnauthorizedError:
            await discard(request, limit)
            raise
        return key

    def _settle_key(self, request: Request, model: type[_F], key: str | None, sent: Sent) -> None:
        """Keep the key of a request, looked for in its body where it was nowhere else."""
        if key is None and model.key is not None:
            key = sent.text(model.key) or None
            self.gate.check(key)
        request.state.key = key

    async def translate(self, request: Request, translation: TranslationRequest) -> Answer:
        """Translate for an admitted client; if it disconnects, its work leaves the queue.

        Requests that fail do not count towards the client's monthly quota.
        """
        self.check_length(translation)
        client = self.enter(request, translation.characters)
        try:
            answer = await _while_connected(request, self.service.translate(translation))
        except FmallocError:
            self.gate.give_back(client, translation.characters)
            raise
        note(domain=answer.route.domain)
        return answer

    async def route(self, request: Request, translation: TranslationRequest) -> Route:
        """Route without translation; this counts no characters."""
        self.check_length(translation)
        self.enter(request)
        return await self.service.route_apart(translation)

    def enter(self, request: Request, characters: int = 0) -> str:
        """Admit the client and return its name; raises as Gatekeeper.enter does."""
        return self.gate.enter(credential_of(request), characters)

    def client(self, request: Request) -> str:
        """The name of the client; UnauthorizedError without a known key."""
        return self.gate.client(credential_of(request))

    def count(self, request: Request, characters: int) -> None:
        """Count characters of a client that was admitted before they were known; raises as Gatekeeper.enter does."""
        self.gate.count(credential_of(request), characters)

    def may_see(self, request: Request, what: str) -> bool:
        """Whether this client may see domains, bundles and paths in `what`, one of those that settings can guard."""
        return what not in self.settings.guarded or self.gate.knows(credential_of(request))

    def check_may_see(self, request: Request, what: str) -> None:
        """Raise UnauthorizedError unless may_see."""
        if what in self.settings.guarded:
            self.gate.check(credential_of(request))

    def usage(self, request: Request) -> Usage:
        """What the client has used this month; UnauthorizedError without a known key."""
        return self.gate.usage(credential_of(request))

    @property
    def languages(self) -> LanguagePair:
        """The language pair that is served; NotReadyError if there is none yet."""
        return self.service.registry.snapshot().languages

    def check_languages(self, source: str, target: str) -> None:
        """Raise UnsupportedLanguagesError unless this pair is served; `source` may be `auto`."""
        pair = self.languages
        known = source.lower() == AUTO or is_language(source, pair.source)
        if not known or not is_language(target, pair.target):
            raise UnsupportedLanguagesError(
                f"{source[:20]!r} to {target[:20]!r} is not supported: use source {short_code(pair.source)} or {AUTO}, "
                f"and target {short_code(pair.target)}"
            )

    def search(
        self,
        beam_size: int | None = None,
        max_length: int | None = None,
        alternatives: int | None = None,
        alignment: bool | None = None,
    ) -> TranslationOptions:
        """Search options within the limits; BadRequestError names the limit that is exceeded."""
        limit, most = self.settings.beam_limit, self.settings.alternatives_limit
        wanted = (alternatives or 0) + 1
        if beam_size is not None and beam_size > limit:
            raise BadRequestError(f"beam_size is {beam_size}: at most {limit} is allowed")
        if wanted - 1 > most:
            raise BadRequestError(f"alternatives is {wanted - 1}: at most {most} are allowed")
        if beam_size is not None and beam_size < wanted:
            raise BadRequestError(f"alternatives is {wanted - 1}: a beam_size of {beam_size} gives {beam_size - 1}")
        if beam_size is None and self.settings.beam_size is not None:
            beam_size = max(self.settings.beam_size, wanted)
        return TranslationOptions(beam_size, max_length, hypotheses=wanted, attention=bool(alignment))

    def check_length(self, translation: TranslationRequest) -> None:
        """Raise BodyTooLargeError for more characters than a request may have."""
        characters = translation.characters + len(translation.context)
        if characters > (limit := self.settings.text_limit):
            raise BodyTooLargeError(f"the text has {characters} characters, at most {limit} are allowed per request")


def credential_of(request: Request) -> str | None:
    """The key in `Authorization: DeepL-Auth-Key …` or `Bearer …`, or the one that Backend.read found, if any."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    found = key.strip() if scheme.lower() in _SCHEMES else getattr(request.state, "key", None)
    return found or None


async def _while_connected(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`; if the client disconnects first, `work` is cancelled and ClientDisconnect raised."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_wait_until_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
