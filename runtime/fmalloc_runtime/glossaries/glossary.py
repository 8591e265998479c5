"""A glossary that is kept: a name and a dictionary for each of its language pairs."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from uuid import uuid4

from pydantic import Field

from fmalloc_runtime.text.terms import Entry
from fmalloc_shared.languages import LanguagePair, short_code
from fmalloc_shared.strict import StrictModel

ID = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_Name = Annotated[str, Field(min_length=1, max_length=1024)]


class Dictionary(StrictModel):
    """Terms of one language and their translations into another."""

    languages: LanguagePair
    entries: Annotated[tuple[tuple[str, str], ...], Field(min_length=1)]

    @classmethod
    def of(cls, languages: LanguagePair, entries: Iterable[Entry]) -> Self:
        """A dictionary of checked entries."""
        return cls(languages=languages, entries=tuple((entry.source, entry.target) for entry in entries))

    def is_for(self, languages: LanguagePair) -> bool:
        """Whether it is between these languages, whatever their countries."""
        return [short_code(own) for own in self.languages] == [short_code(other) for other in languages]

    def with_entries(self, entries: Iterable[tuple[str, str]]) -> "Dictionary":
        """The dictionary with more entries; one with a term that is there takes its place."""
        return Dictionary(languages=self.languages, entries=tuple((dict(self.entries) | dict(entries)).items()))

    @property
    def tsv(self) -> str:
        """A term, a tab and its translation a line."""
        return "\n".join(f"{source}\t{target}" for source, target in self.entries)


class Glossary(StrictModel):
    """A file of a client's glossaries."""

    version: Literal[1] = 1
    """Of the file."""
    id: Annotated[str, Field(pattern=ID)]
    """A random UUID."""
    name: _Name
    """What the client calls it."""
    created: str
    """UTC, ISO 8601."""
    dictionaries: tuple[Dictionary, ...]
    """One per language pair."""

    @classmethod
    def new(cls, name: str, dictionaries: Sequence[Dictionary]) -> Self:
        """A glossary with an id of its own, made now."""
        created = datetime.now(UTC).isoformat(timespec="microseconds")
        return cls(id=str(uuid4()), name=name, created=created, dictionaries=tuple(dictionaries))

    def dictionary(self, languages: LanguagePair) -> Dictionary | None:
        """The dictionary between two languages."""
        return next((found for found in self.dictionaries if found.is_for(languages)), None)

    def with_dictionary(self, changed: Dictionary) -> "Glossary":
        """The glossary with a dictionary in the place of that of its languages, if there is one."""
        others = [known for known in self.dictionaries if not known.is_for(changed.languages)]
        return self.model_copy(update={"dictionaries": (*others, changed)})

    def without_dictionary(self, languages: LanguagePair) -> "Glossary":
        """The glossary without the dictionary of a language pair."""
        kept = tuple(known for known in self.dictionaries if not known.is_for(languages))
        return self.model_copy(update={"dictionaries": kept})
