"""Numbers, dates and references: the same in all languages, each written its own way."""

import time

import pytest
from babel.dates import format_date
from babel.numbers import format_decimal
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fmalloc_runtime.text.quantities import notation
from fmalloc_runtime.text.rendering.repair import Comparison, Said

GERMAN, ENGLISH = notation("de"), notation("eng_Latn")
# Of languages that write numbers and dates each in another way.
LANGUAGES = ["de", "en", "fr", "es", "it", "pt", "nl", "sv", "da", "cs", "pl", "ru", "uk", "fi", "hu", "el", "tr", "ro"]


def lost(source: str, target: str) -> tuple[str, ...]:
    return Comparison(Said(source, [], GERMAN), Said(target, [], ENGLISH)).shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.000,50 Euro, 10 000 und 29,9 %", ["1000.50", "10000", "29.9"]),
        ("Nr. 104/2000, Artikel 341 Absatz 2", ["104/2000", "341", "2"]),
        ("Am 17. Dezember 1999, im Mai 2003, vom 5. Okt.", ["17 12 1999", "5 2003", "5 10"]),
        ("vom 17. bis 18. März", ["17", "18 3"]),
        ("am 17.12.1999 um 14:30, Version 1.2.3.4", ["17 12 1999", "14.30", "1.2.3.4"]),
        ("im Mai, MP3, UTF-8, x86_64", []),
        ("(1) Titel 05", ["1", "5"]),
    ],
)
def test_quantities_of_a_text(text: str, expected: list[str]) -> None:
    assert [" ".join(part.value for part in one.parts) for one in GERMAN.find(text)] == expected


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("1.000,50", "1,000.50"),
        ("10 000", "10,000"),
        ("29,9 %", "29.9%"),
        ("am 17. Dezember 1999", "on December 17, 1999"),
        ("am 17.12.1999", "on 17 December 1999"),
        ("17. und 18. Mai", "May 17th and 18th"),
        ("Artikel 5 Absatz 2", "Article 5(2)"),
        ("Titel 05", "title 5"),
        ("5", "5 of 12"),
        ("360×480 Punkte", "360 480 dots"),
        ("100 200 300", "100, 200 and 300"),
        ("10 000", "10000"),
    ],
)
def test_a_language_may_write_them_its_own_way(source: str, target: str) -> None:
    assert not lost(source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("2,5", "25"),
        ("Nr. 104/2000", "No 104 of 2000"),
        ("17. Dezember 1999", "17 November 1999"),
        ("5 und 5", "5"),
        ("360×360 Punkte", "360 480 dots"),
        ("10 000", "10 and 100"),
        ("5", "five"),
    ],
)
def test_what_is_not_the_same(source: str, target: str) -> None:
    assert lost(source, target)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1.000,50", "1,000.50"),
        ("2,125", "2.125"),
        ("29,9 %", "29.9%"),
        ("5 %", "5%"),
        ("104/2000", "104/2000"),
        ("14:30", "14:30"),
        ("17.12.1999", "17.12.1999"),
        ("17. Dezember 1999", "17 December 1999"),
        ("3. Juni", "3 June"),
        ("Mai 2003", "May 2003"),
        ("31. Februar 2000", "31. Februar 2000"),
    ],
)
def test_they_are_written_as_the_target_does(source: str, expected: str) -> None:
    (quantity,) = GERMAN.find(source)
    assert ENGLISH.write(quantity, source, GERMAN) == expected


def test_an_unknown_language_keeps_them_as_they_are() -> None:
    unknown = notation("x-robot")
    (quantity,) = unknown.find("1.000,50 %")
    assert ENGLISH.write(quantity, "1.000,50 %", unknown) == "1.000,50 %"


@pytest.mark.parametrize("unit", ["1", "1 ", "1 234 ", "1.234.", "1/", "17. Mai ", "Mai ", "Mai 2000 ", "5 % "])
def test_time_grows_with_length_alone(unit: str) -> None:
    begin = time.process_time()
    GERMAN.find(unit * (100_000 // len(unit)))
    assert time.process_time() - begin < 5


@settings(max_examples=200, deadline=None)
@given(
    value=st.one_of(
        st.dates().map(lambda day: ("long", day)),
        st.decimals(0, 10**9, places=2).map(lambda number: ("number", number)),
        st.integers(0, 10**12).map(lambda number: ("number", number)),
    ),
    languages=st.tuples(st.sampled_from(LANGUAGES), st.sampled_from(LANGUAGES)),
)
def test_what_is_written_in_another_language_says_the_same(
    value: tuple[str, object], languages: tuple[str, str]
) -> None:
    kind, what = value
    source, target = map(notation, languages)
    if kind == "long":
        assume(what.year >= 1000)  # type: ignore[attr-defined]
        text = format_date(what, "long", locale=languages[0])  # type: ignore[arg-type]
    else:
        text = format_decimal(what, locale=languages[0])  # type: ignore[arg-type]
    (quantity,) = source.find(text)
    written = target.write(quantity, text, source)
    assert not Comparison(Said(text, [], source), Said(written, [], target)).lost, (text, written)
    assert not Comparison(Said(written, [], target), Said(text, [], source)).lost, (text, written)
