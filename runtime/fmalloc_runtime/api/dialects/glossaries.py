"""DeepL's protocol for glossaries: version 2, of one language pair each, and version 3, of several."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.dialects.deepl import DIALECT
from fmalloc_runtime.api.dialects.deepl_fields import KeyFields
from fmalloc_runtime.api.dialects.glossaries_fields import (
    ChangeFields,
    DictionaryAnswer,
    DictionaryFields,
    EntriesAnswer,
    EntriesOf,
    GlossariesAnswer,
    GlossaryAnswer,
    GlossaryFields,
    MultilingualAnswer,
    MultilingualFields,
    MultilingualsAnswer,
    PairFields,
)
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.errors import BadRequestError, MissingGlossaryError
from fmalloc_runtime.glossaries.glossary import Dictionary, Glossary
from fmalloc_shared.languages import LanguagePair

TSV = "text/tab-separated-values"
_STATUSES = {404, 456, 507}


@dataclass(frozen=True)
class DeepLGlossaries:
    """The handlers of this part of the dialect."""

    backend: Backend

    @property
    def operations(self) -> list[Operation]:
        """All operations."""
        one, some, found = "/v2/glossaries/{id}", "/v3/glossaries/{id}", {404}
        make = partial(Operation, dialect=DIALECT, statuses=_STATUSES)
        look = partial(Operation, dialect=DIALECT, statuses=found, request=KeyFields)
        pair = partial(Operation, dialect=DIALECT, statuses=found, request=PairFields)
        return [
            make("POST", "/v2/glossaries", "Make a glossary", self.make, request=GlossaryFields,
                 response=GlossaryAnswer, success=201),
            look("GET", "/v2/glossaries", "Glossaries of one language pair", self.every, response=GlossariesAnswer),
            look("GET", one, "A glossary", self.get, response=GlossaryAnswer),
            look("GET", f"{one}/entries", "The entries of a glossary", self.entries, media=TSV),
            look("DELETE", one, "Delete a glossary", self.delete, success=204),
            make("POST", "/v3/glossaries", "Make a glossary of several language pairs", self.make_multilingual,
                 request=MultilingualFields, response=MultilingualAnswer, success=201),
            look("GET", "/v3/glossaries", "All glossaries", self.every_multilingual, response=MultilingualsAnswer),
            look("GET", some, "A glossary", self.get_multilingual, response=MultilingualAnswer),
            make("PATCH", some, "Change a glossary", self.change, request=ChangeFields, response=MultilingualAnswer),
            look("DELETE", some, "Delete a glossary", self.delete, success=204),
            pair("GET", f"{some}/entries", "The entries of a dictionary", self.dictionary, response=EntriesAnswer),
            make("PUT", f"{some}/dictionaries", "Put a dictionary in the place of another", self.replace,
                 request=DictionaryFields, response=DictionaryAnswer),
            pair("DELETE", f"{some}/dictionaries", "Delete a dictionary", self.delete_dictionary, success=204),
        ]  # fmt: skip

    async def make(self, request: Request) -> Response:
        """Keep a glossary of one language pair."""
        wanted = await self.backend.read(request, GlossaryFields)
        client = self.backend.enter(request)
        glossary = Glossary.new(wanted.name, [await run_sync(wanted.dictionary)])
        await run_sync(self.backend.glossaries.add, client, glossary)
        return answer(GlossaryAnswer.of(glossary), 201)

    async def every(self, request: Request) -> Response:
        """Those that version 2 can describe."""
        found = [glossary for glossary in await self._all(request) if len(glossary.dictionaries) == 1]
        return answer(GlossariesAnswer(glossaries=list(map(GlossaryAnswer.of, found))))

    async def get(self, request: Request) -> Response:
        """One that version 2 can describe."""
        await self.backend.read(request, KeyFields)
        return answer(GlossaryAnswer.of(_single(await self._find(request))))

    async def entries(self, request: Request) -> Response:
        """All entries, as TSV."""
        await self.backend.read(request, KeyFields)
        (dictionary,) = _single(await self._find(request)).dictionaries
        return Response(dictionary.tsv, media_type=TSV)

    async def delete(self, request: Request) -> Response:
        """Delete a glossary of either version."""
        await self.backend.read(request, KeyFields)
        client = self.backend.enter(request)
        await run_sync(self.backend.glossaries.delete, client, request.path_params["id"])
        return Response(status_code=204)

    async def make_multilingual(self, request: Request) -> Response:
        """Keep a glossary of several language pairs."""
        wanted = await self.backend.read(request, MultilingualFields)
        client = self.backend.enter(request)
        glossary = await run_sync(partial(_made, wanted))
        await run_sync(self.backend.glossaries.add, client, glossary)
        return answer(MultilingualAnswer.of(glossary), 201)

    async def every_multilingual(self, request: Request) -> Response:
        """All of this key."""
        return answer(MultilingualsAnswer(glossaries=list(map(MultilingualAnswer.of, await self._all(request)))))

    async def get_multilingual(self, request: Request) -> Response:
        """One of this key."""
        await self.backend.read(request, KeyFields)
        return answer(MultilingualAnswer.of(await self._find(request)))

    async def change(self, request: Request) -> Response:
        """Another name, and more entries."""
        wanted = await self.backend.read(request, ChangeFields)
        if wanted.name is None and not wanted.dictionaries:
            raise BadRequestError("name and dictionaries are missing: expected one of them, or both")
        return answer(MultilingualAnswer.of(await self._change(request, partial(_changed, wanted))))

    async def dictionary(self, request: Request) -> Response:
        """The entries of a language pair, as TSV."""
        wanted = await self.backend.read(request, PairFields)
        found = _of_pair(await self._find(request), wanted.languages)
        source, target = found.languages
        entries = EntriesOf(source_lang=source, target_lang=target, entries=found.tsv, entries_format="tsv")
        return answer(EntriesAnswer(dictionaries=[entries]))

    async def replace(self, request: Request) -> Response:
        """A dictionary in the place of that of its languages, if there is one."""
        wanted = await self.backend.read(request, DictionaryFields)
        dictionary = await run_sync(wanted.dictionary)
        await self._change(request, lambda glossary: glossary.with_dictionary(dictionary))
        return answer(DictionaryAnswer.of(dictionary))

    async def delete_dictionary(self, request: Request) -> Response:
        """Delete a language pair of a glossary."""
        languages = (await self.backend.read(request, PairFields)).languages

        def without(glossary: Glossary) -> Glossary:
            _of_pair(glossary, languages)
            return glossary.without_dictionary(languages)

        await self._change(request, without)
        return Response(status_code=204)

    async def _all(self, request: Request) -> list[Glossary]:
        await self.backend.read(request, KeyFields)
        return await run_sync(self.backend.glossaries.list, self.backend.enter(request))

    async def _find(self, request: Request) -> Glossary:
        client = self.backend.enter(request)
        return await run_sync(self.backend.glossaries.get, client, request.path_params["id"])

    async def _change(self, request: Request, change: Callable[[Glossary], Glossary]) -> Glossary:
        client = self.backend.enter(request)
        return await run_sync(self.backend.glossaries.change, client, request.path_params["id"], change)


def _made(wanted: MultilingualFields) -> Glossary:
    made: dict[LanguagePair, Dictionary] = {}
    for inner in wanted.dictionaries:
        dictionary = inner.dictionary()
        if dictionary.languages in made:
            pair = " to ".join(dictionary.languages)
            raise BadRequestError(f"dictionaries has two from {pair}: expected one per language pair")
        made[dictionary.languages] = dictionary
    return Glossary.new(wanted.name, list(made.values()))


def _changed(wanted: ChangeFields, glossary: Glossary) -> Glossary:
    for inner in wanted.dictionaries or ():
        added = inner.dictionary()
        known = glossary.dictionary(added.languages)
        glossary = glossary.with_dictionary(known.with_entries(added.entries) if known else added)
    return glossary.model_copy(update={"name": wanted.name}) if wanted.name else glossary


def _single(glossary: Glossary) -> Glossary:
    if len(glossary.dictionaries) != 1:
        raise MissingGlossaryError(f"glossary {glossary.id} has several language pairs: ask for it at /v3/glossaries")
    return glossary


def _of_pair(glossary: Glossary, languages: LanguagePair) -> Dictionary:
    found = glossary.dictionary(languages)
    if found is None:
        raise MissingGlossaryError(f"glossary {glossary.id} has no dictionary from {' to '.join(languages)}")
    return found
