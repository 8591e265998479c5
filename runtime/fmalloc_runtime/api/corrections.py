"""What all dialects do with corrections: admit the client, route the sources, refuse garbage, keep the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from anyio.to_thread import run_sync
from starlette.requests import Request

from fmalloc_runtime.access.gatekeeper import ANONYMOUS
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.batching.service import TranslationRequest
from fmalloc_runtime.corrections.refusal import refused, tidied
from fmalloc_runtime.errors import CorrectionsOffError
from fmalloc_runtime.logs import note, request_id
from fmalloc_runtime.routing.router import Route
from fmalloc_shared.corrections import Correction

Pair = tuple[str, str]
_OFF = "this server keeps no corrections: its operator may turn that on with --corrections"


@dataclass(frozen=True)
class Outcome:
    """What became of a correction; `reason`: why it was refused."""

    result: Literal["kept", "known", "refused"]
    reason: str | None = None


async def take(backend: Backend, request: Request, pairs: Sequence[Pair], domain: str) -> tuple[Route, list[Outcome]]:
    """Keep corrections, pairs of a source and its right translation; they are on disk on return.

    The sources are routed together, as in a translation request; that costs a client no characters.
    Raises CorrectionsOffError, what Backend.route raises, and what CorrectionLog.keep raises.
    """
    if not backend.corrections.on:
        raise CorrectionsOffError(_OFF)
    sources, targets = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    backend.check_length(TranslationRequest(sources, domain, "".join(targets)))
    client = backend.enter(request)
    snapshot = backend.service.registry.snapshot()
    route = await backend.service.route_apart(TranslationRequest(sources, domain))
    record = partial(
        Correction,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        request=request_id.get(),
        client=None if client == ANONYMOUS else client,
        languages=snapshot.languages,
        asked=domain,
        domain=route.domain,
        score=min(route.score, 1.0),
        bundle=route.bundle,
    )
    outcomes = await run_sync(_settle, backend, record, route.domain, pairs)
    note(domain=route.domain)
    for outcome in outcomes:
        backend.service.metrics.corrections.labels(route.domain, outcome.result).inc()
    return route, outcomes


def _settle(backend: Backend, record: "partial[Correction]", domain: str, pairs: Sequence[Pair]) -> list[Outcome]:
    tidy = [(tidied(source), tidied(target)) for source, target in pairs]
    reasons = [refused(*pair) for pair in tidy]
    sound = [
        record(source=source, target=target)
        for (source, target), reason in zip(tidy, reasons, strict=True)
        if reason is None
    ]
    fresh: Iterator[bool] = iter(backend.corrections.keep(domain, sound) if sound else ())
    return [Outcome("refused", reason) if reason else Outcome("kept" if next(fresh) else "known") for reason in reasons]
