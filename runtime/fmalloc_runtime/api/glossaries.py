"""What all dialects do with glossaries: find those that a request names, and index them for its languages."""

from collections.abc import Mapping, Sequence
from functools import partial

from anyio.to_thread import run_sync
from starlette.requests import Request

from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.glossaries.reading import check_term
from fmalloc_runtime.text.terms import Entry, Terms
from fmalloc_shared.languages import short_code

MOST_IDS = 5
"""Glossaries of a request, as DeepL allows."""
MOST_INLINE = 10_000
"""Terms that a request itself may have."""


async def terms_of(
    backend: Backend, request: Request, ids: Sequence[str] = (), inline: Mapping[str, str] | None = None
) -> Terms | None:
    """The terms of a request: its own before those of its glossaries, in their order; None if it names none.

    Raises MissingGlossaryError for an id that the client has not, BadRequestError for a glossary without a dictionary
    of the languages that are served or with a term that can be none.
    """
    if not ids and not inline:
        return None
    if len(ids) > MOST_IDS:
        raise BadRequestError(f"{len(ids)} glossaries: at most {MOST_IDS} are allowed per request")
    if inline and len(inline) > MOST_INLINE:
        raise BadRequestError(f"glossary has {len(inline)} terms, at most {MOST_INLINE} are allowed per request")
    return await run_sync(partial(_indexed, backend, backend.client(request), ids, inline or {}))


def _indexed(backend: Backend, client: str, ids: Sequence[str], inline: Mapping[str, str]) -> Terms:
    languages = backend.languages
    entries = (
        Entry(check_term(source, "glossary"), check_term(target, f"glossary: {source[:80]!r}"))
        for source, target in inline.items()
    )
    found = Terms(entries, *languages)
    for id_ in ids:
        terms = backend.glossaries.terms(client, id_, languages)
        if terms is None:
            pair = " to ".join(short_code(language) for language in languages)
            raise BadRequestError(f"glossary {id_}: has no dictionary from {pair}, the languages that are served")
        found = found.then(terms) if len(found) else terms
    return found
