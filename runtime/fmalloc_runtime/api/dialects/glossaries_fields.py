"""What DeepL's glossary requests and answers hold."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fmalloc_runtime.api.dialects.deepl_fields import KeyFields
from fmalloc_runtime.api.fields import String
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.glossaries.glossary import Dictionary, Glossary
from fmalloc_runtime.glossaries.reading import read_csv, read_tsv
from fmalloc_shared.languages import LanguagePair, short_code

_Code = Annotated[String, Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,3}$")]


_Name = Annotated[String, Field(min_length=1, max_length=1024)]


class PairFields(KeyFields):
    """A language pair."""

    source_lang: _Code = Field(description="the language code of the terms")
    target_lang: _Code = Field(description="the language code of their translations")

    @property
    def languages(self) -> LanguagePair:
        """The pair, without countries: a glossary is for all of them."""
        return LanguagePair(short_code(self.source_lang), short_code(self.target_lang))


class DictionaryFields(PairFields):
    """Terms and their translations, as TSV or CSV."""

    entries: String = Field(description="terms and their translations, a line each")
    entries_format: Literal["tsv", "csv"] = "tsv"

    def dictionary(self) -> Dictionary:
        """The dictionary; BadRequestError names the line that is wrong."""
        read = {"tsv": read_tsv, "csv": read_csv}[self.entries_format]
        entries = read(self.entries.encode(), "entries", self.languages)
        if not entries:
            raise BadRequestError("entries has no term: expected at least one")
        return Dictionary.of(self.languages, entries)


class GlossaryFields(DictionaryFields):
    """A glossary of one language pair."""

    name: _Name = Field(description="what you call it")


class _Inner(BaseModel):
    model_config = ConfigDict(frozen=True)

    source_lang: _Code
    target_lang: _Code
    entries: String
    entries_format: Literal["tsv", "csv"] = "tsv"

    def dictionary(self) -> Dictionary:
        return DictionaryFields.model_validate(self.model_dump()).dictionary()


class MultilingualFields(KeyFields):
    """A glossary of several language pairs."""

    name: _Name = Field(description="what you call it")
    dictionaries: list[_Inner] = Field(description="a dictionary per language pair", min_length=1, max_length=100)


class ChangeFields(KeyFields):
    """Another name, or terms that are added to those that are there, or take their places."""

    name: _Name | None = None
    dictionaries: list[_Inner] | None = Field(None, max_length=100)


class GlossaryAnswer(BaseModel):
    """A glossary of one language pair."""

    glossary_id: str
    ready: bool
    name: str
    source_lang: str
    target_lang: str
    creation_time: str
    entry_count: int

    @classmethod
    def of(cls, glossary: Glossary) -> "GlossaryAnswer":
        """The answer for a glossary that has one dictionary."""
        (dictionary,) = glossary.dictionaries
        source, target = dictionary.languages
        return cls(
            glossary_id=glossary.id,
            ready=True,
            name=glossary.name,
            source_lang=source,
            target_lang=target,
            creation_time=glossary.created,
            entry_count=len(dictionary.entries),
        )


class GlossariesAnswer(BaseModel):
    """All glossaries of this key that have one language pair, the oldest first."""

    glossaries: list[GlossaryAnswer]


class DictionaryAnswer(BaseModel):
    """A dictionary without its entries."""

    source_lang: str
    target_lang: str
    entry_count: int

    @classmethod
    def of(cls, dictionary: Dictionary) -> "DictionaryAnswer":
        """The answer for a dictionary."""
        source, target = dictionary.languages
        return cls(source_lang=source, target_lang=target, entry_count=len(dictionary.entries))


class MultilingualAnswer(BaseModel):
    """A glossary without its entries."""

    glossary_id: str
    name: str
    dictionaries: list[DictionaryAnswer]
    creation_time: str

    @classmethod
    def of(cls, glossary: Glossary) -> "MultilingualAnswer":
        """The answer for a glossary."""
        found = [DictionaryAnswer.of(dictionary) for dictionary in glossary.dictionaries]
        return cls(glossary_id=glossary.id, name=glossary.name, dictionaries=found, creation_time=glossary.created)


class MultilingualsAnswer(BaseModel):
    """All glossaries of this key, the oldest first."""

    glossaries: list[MultilingualAnswer]


class EntriesOf(BaseModel):
    """A dictionary with its entries."""

    source_lang: str
    target_lang: str
    entries: str
    entries_format: Literal["tsv"]


class EntriesAnswer(BaseModel):
    """The dictionary of the language pair that was asked for."""

    dictionaries: list[EntriesOf]
