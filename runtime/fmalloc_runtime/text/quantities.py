"""Numbers, dates and references in running text: what they say, however a language writes it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache

from babel import Locale, UnknownLocaleError
from babel.dates import format_skeleton

from fmalloc_shared.languages import short_code

# Digits with what belongs between them: 1.000,50 and 10 000, 14:30, 17.12.1999, 104/2000.
# Not a keycap, which is a sign.
NUMBER = (
    r"(?<!\w)(?<![^\W\d_]-)(?:(?<!\d[ ])\d{1,3}(?:[ ]\d{3})++(?:[.,]\d++)?(?![\w/])|\d++(?:[.,:'’/\u202f\u00a0]\d++)*+)"
    r"(?![\ufe0f\u20e3])"
)
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:(?P<sign>[.,'’ \u00a0\u202f])\d{3})(?:(?P=sign)\d{3})*+(?P<rest>(?:[.,]\d++)?)")
_CALENDAR = re.compile(r"\d{1,2}([./])\d{1,2}\1(?:\d{4}|\d{2})")
_PERCENT = re.compile(r"[ \u00a0\u202f]?[%‰]")
# Between the parts of a date: an ordinal's ending, a sign, a short word such as `de`.
_LINK = re.compile(r"(?:st|[nr]d|th|er|º|ª)?[.,]?\s{1,3}(?:[^\W\d_]{1,2}\s{1,3})?|\.")
_SIGNS = re.compile(r"[:'’,\u00a0\u202f ]")


@dataclass(frozen=True)
class Part:
    """A number or a month's name at characters `begin` to `end`: `value` is the same in all languages.

    `pieces`: of a number with spaces, which may as well be several.
    """

    begin: int
    end: int
    value: str
    month: bool = False
    pieces: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """The pieces, or the one value."""
        return self.pieces or (self.value,)


@dataclass(frozen=True)
class Quantity:
    """A number or reference, or all parts of a date. `end`: behind a percent sign that belongs to it."""

    parts: tuple[Part, ...]
    end: int

    @property
    def begin(self) -> int:
        """Where it begins."""
        return self.parts[0].begin


class Notation:
    """How a language writes numbers and dates, by Unicode's CLDR; of an unknown language, no months are known."""

    def __init__(self, language: str) -> None:
        try:
            # English as the world writes it: 17 December 1999.
            self._locale: Locale | None = Locale.parse({"en": "en_001"}.get(language, language))
        except (UnknownLocaleError, ValueError):
            self._locale = None
        self._months = dict(_months(self._locale)) if self._locale else {}
        names = sorted(map(re.escape, self._months), key=len, reverse=True)
        month = rf"|(?<!\w)(?P<month>{'|'.join(names)})(?!\w)" if names else ""
        self._token = re.compile(f"(?P<number>{NUMBER}){month}")

    def find(self, text: str) -> list[Quantity]:
        """The quantities of a text from left to right; a month without a day or year is none."""
        found: list[Quantity] = []
        chain: list[Part] = []
        for part in (*self._parts(text), None):
            if part is None or not (chain and _continues(chain, part, text)):
                if any(not before.month for before in chain):
                    end = chain[-1].end
                    percent = _PERCENT.match(text, end)
                    found.append(Quantity(tuple(chain), percent.end() if percent else end))
                chain = []
            if part is not None:
                chain.append(part)
        return found

    def write(self, quantity: Quantity, text: str, source: "Notation") -> str:
        """A quantity of a text in the source's language as this language writes it."""
        shown = text[quantity.begin : quantity.parts[-1].end]
        if any(part.month for part in quantity.parts):
            return self._write_date(quantity.parts) or shown
        written = self._write_number(shown, source)
        sign = text[quantity.parts[-1].end : quantity.end]
        if not sign or self._locale is None or source._locale is None:
            return written + sign
        return written + self._symbol_space + sign.strip()

    def write_part(self, part: Part, text: str, source: "Notation") -> str:
        """A number or month of a text in the source's language as this language writes it."""
        if part.month and self._locale:
            return str(self._locale.months["format"]["wide"][int(part.value)])
        return self._write_number(text[part.begin : part.end], source)

    def _write_number(self, number: str, source: "Notation") -> str:
        if self._locale is None or source._locale is None:
            return number
        match = _GROUPED.fullmatch(number)
        decimal, group = self._symbol("decimal"), self._symbol("group")
        if match and match["sign"] != source._symbol("decimal") and match["rest"][:1] != match["sign"]:
            whole = number[: len(number) - len(match["rest"])].replace(match["sign"], group)
            return whole + match["rest"].replace(source._symbol("decimal"), decimal)
        if number.count(source._symbol("decimal")) == 1 and re.fullmatch(r"\d+[.,]\d+", number):
            return number.replace(source._symbol("decimal"), decimal)
        return number

    def _write_date(self, parts: Sequence[Part]) -> str | None:
        values = {len(part.value) if not part.month else "month": int(part.value) for part in parts}
        month, year = values["month"], values.get(4)
        day = next((values[digits] for digits in (1, 2) if digits in values), None)
        skeleton = "yMMMMd" if day and year else "MMMMd" if day else "yMMMM"
        try:
            when = date(year or 2000, month, day or 1)
        except ValueError:
            return None
        return str(format_skeleton(skeleton, when, locale=self._locale)) if self._locale else None

    @cached_property
    def _symbol_space(self) -> str:
        """What the language writes between a number and a percent sign."""
        assert self._locale is not None
        return "".join(filter(str.isspace, self._locale.percent_formats[None].pattern))

    def _symbol(self, name: str) -> str:
        assert self._locale is not None
        return str(self._locale.number_symbols["latn"][name])

    def _parts(self, text: str) -> Iterator[Part]:
        for match in self._token.finditer(text):
            begin, end = match.span()
            if match.lastgroup == "month":
                yield Part(begin, end, self._months[match[0]], month=True)
            elif _CALENDAR.fullmatch(match[0]):
                for run in re.finditer(r"\d+", match[0]):
                    yield Part(begin + run.start(), begin + run.end(), _plain(run[0]))
            else:
                runs = match[0].split(" ")
                yield Part(begin, end, _plain(match[0]), pieces=tuple(map(_plain, runs)) if len(runs) > 1 else ())


@lru_cache(256)
def notation(language: str) -> Notation:
    """The notation of a language by its code."""
    return Notation(short_code(language))


def _months(locale: Locale) -> Iterator[tuple[str, str]]:
    for context in ("format", "stand-alone"):
        for width in ("wide", "abbreviated"):
            for number, name in locale.months[context][width].items():
                name = name.rstrip(".")
                if name.isalpha():
                    yield from ((name, str(number)), (name.upper(), str(number)))


def _continues(chain: Sequence[Part], part: Part, text: str) -> bool:
    """Whether a part continues a date: a month beside a day or a year or both, or numbers of one token."""
    before = chain[-1]
    if part.begin - before.end == 1 and text[before.end] in "./":
        return True  # of one token, which is a date by its form
    if not _LINK.fullmatch(text, before.end, part.begin):
        return False
    kinds = [_kind(one) for one in (*chain, part)]
    return None not in kinds and len(set(kinds)) == len(kinds) and "month" in kinds[:2]


def _kind(part: Part) -> str | None:
    if part.month:
        return "month"
    if len(part.value) == 4 and part.value.isdigit():
        return "year"
    return "day" if len(part.value) <= 2 and 1 <= int(part.value) <= 31 else None


def _plain(number: str) -> str:
    """A number as all languages could write it: grouping signs dropped, other signs as points."""
    if match := _GROUPED.fullmatch(number):
        rest = match["rest"]
        number = _SIGNS.sub("", number[: len(number) - len(rest)].replace(".", "")) + rest
    number = _SIGNS.sub(".", number)
    return number.lstrip("0") or "0" if len(number) <= 2 else number
