"""Language codes as files, models, tools and clients write them: ISO 639, BCP 47, POSIX, NLLB's and mBART's."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Annotated

from langcodes import Language, standardize_tag, tag_distance, tag_is_valid
from langcodes.tag_parser import LanguageTagError
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

# langcodes' distances: 1 is a language and its usual macrolanguage (nb and no), 50 another script.
_SAME_LANGUAGE = 1
_OTHER_SCRIPT = 50
# Of a code that is no BCP 47 tag but for its language: behind every one that is.
_UNREADABLE = 40
_LANGUAGE = re.compile(r"(?P<private>x[-_])?(?P<language>[a-z]{2,3})(?=[-_.@]|\Z)")

Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}$")]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class LanguagePair:
    """The languages that a model translates between; iterates over both codes.

    In JSON it is an object with these two keys, read as strictly as a StrictModel.
    """

    source: Code
    """Code of the source language, as the base's tokenizer knows it."""
    target: Code
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


def closest_code(wanted: str, known: Iterable[str]) -> str | None:
    """The code among `known`, which a model or tool uses, for the language that `wanted` names in any habit.

    `deu_Latn` for `de`, `fra` for `fr-CA`, `cmn_Hans` for `zh`: the same code if there is one, else that of the same
    language whose script and country are nearest. None where the language is missing, or known in another script alone.
    """
    codes = sorted(known)
    for form in (str, _plain):
        if alike := [code for code in codes if form(code) == form(wanted)]:
            return alike[0]
    distances = {code: _distance(wanted, code) for code in codes}
    nearest = min(codes, key=lambda code: (distances[code], code), default=None)
    return nearest if nearest is not None and distances[nearest] < _OTHER_SCRIPT else None


def _plain(code: str) -> str:
    return re.split("[.@]", code.strip().lower().replace("_", "-"))[0]


def _distance(wanted: str, code: str) -> int:
    """How far a code is from what is wanted, _OTHER_SCRIPT where it is another language."""
    same = short_code(wanted) == short_code(code)
    try:
        asked, found = Language.get(_plain(wanted)), Language.get(_plain(code))
        distance = tag_distance(asked, found)
    except LanguageTagError:
        return _UNREADABLE if same else _OTHER_SCRIPT
    if asked.script and found.script and asked.script != found.script:
        return _OTHER_SCRIPT
    return distance if same or distance <= _SAME_LANGUAGE else _OTHER_SCRIPT
