"""Language codes as files, models, tools and clients write them: ISO 639, BCP 47, POSIX, NLLB's and mBART's."""

import re
from collections.abc import Iterator
from functools import lru_cache

from langcodes import standardize_tag, tag_is_valid
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

_LANGUAGE = re.compile(r"(?P<private>x[-_])?(?P<language>[a-z]{2,3})(?=[-_.@]|\Z)")


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class LanguagePair:
    """The languages that a model translates between; iterates over both codes.

    In JSON it is an object with these two keys, read as strictly as a StrictModel.
    """

    source: str
    """Code of the source language, as the base's tokenizer knows it."""
    target: str
    """Code of the target language."""

    def __iter__(self) -> Iterator[str]:
        return iter((self.source, self.target))


@lru_cache(4096)
def short_code(code: str) -> str:
    """A code's language in BCP 47's shortest form, without script, country or variant.

    `de` for `deu_Latn`, `de-AT`, `ger`, `de_DE.UTF-8` and `x-de`. A language that models write as its macrolanguage
    is that one: `ms` for `zsm`. Unknown languages stay as they are, in lower case; a private code such as
    `x-dialect` stays whole.
    """
    code = code.strip().lower()
    match = _LANGUAGE.match(code)
    if match is None or (match["private"] and not tag_is_valid(match["language"])):
        return code if code[:2] in ("x-", "x_", "i-") else re.split("[-_.@]", code)[0]
    # langcodes keeps every tag that it has parsed, so it is given languages alone: of those there is a bounded number.
    return standardize_tag(match["language"], macro=True).partition("-")[0]
