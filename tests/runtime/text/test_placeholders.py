"""Each syntax of placeholders by its examples, prose that looks like one, and how long hostile text takes."""

import time
import timeit
from collections.abc import Sequence

import pytest

from fmalloc_runtime.text.items import find_items
from fmalloc_runtime.text.placeholders import find_placeholders
from fmalloc_runtime.text.syntaxes import SYNTAXES, Syntax

HOSTILE = ["{", "%(", "<", "[[", "%", "{a,plural,", "<a b='", "$", ":a:", "__a"]


def placeholders(text: str, *, prose: bool = True) -> list[str]:
    return [text[slice(*span)] for span in find_placeholders(text, prose=prose)]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_examples_are_found_whole(syntax: Syntax) -> None:
    for example in syntax.examples:
        for text in (
            example,
            f"Der {example} ist",
            f'"{example}"',
            f"({example}),",
            f"„{example}“",
            f"{{0}} {example}.",
        ):
            assert example in placeholders(text), text
            assert "".join(placeholders(text)).replace("{0}", "") in (example, example.replace("{0}", "")), text


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_what_prose_may_look_like_is_left_to_translations(syntax: Syntax) -> None:
    for example in syntax.examples:
        assert (example in placeholders(f"Der {example} ist", prose=False)) is not syntax.prose, example


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%first%%last% %d%% %s%s %s%d %ld%%", ["%first%", "%last%", "%d", "%%", "%s", "%s", "%s", "%d", "%ld", "%%"]),
        ("%1%2 %1% von %2%, %1$s/%2$d", ["%1%2", "%1%", "%2%", "%1$s", "%2$d"]),
        ("%dx%d Punkte, %dpx, %sTage, %user", ["%d", "%d", "%dpx", "%s", "%user"]),
        (":vorname:nachname ($vorname$nachname)", [":vorname:nachname", "$vorname$nachname"]),
        ("{{a} {b} {{c} {d", ["{a}", "{b}", "{c}"]),
        ("{a {0} b}", ["{0}"]),
        ("[[a {b} c]] <a href='{b}'> https://a.de/{b}", ["[[a {b} c]]", "<a href='{b}'>", "{b}"]),
        ("{n, plural, other {a '{' b}} {x}", ["{n, plural, other {a '{' b}}", "{x}"]),
        ("10 %s, 20%.", ["%s"]),
    ],
)
def test_the_outermost_are_found_beside_each_other(text: str, expected: list[str]) -> None:
    assert placeholders(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Um 12:30 Uhr, 3:1 gewonnen, Note: gut, Achtung:Strom, Foo::bar",
        "$5, $ 5, US$ 5, 5$",
        "100% sure, 5 % der Fälle, 20%ige und 5 %ige Lösung, 20%-Anteil, 50%",
        "{Hallo Welt} {Hinweis: so} { a b } [Hinweis] [1] [siehe oben] [Text](b)",
        "a < b, b > c, 1<2, <3, x<y und z>w, <Ihr Name hier>",
        "a@b.de, Ja!nein, wow! nein, snake_case, R&D, a & b",
    ],
)
def test_prose_has_none(text: str) -> None:
    assert placeholders(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.de/{id}, http://b.de/[[x]] und %s@c.de", ["https://a.de/{id}", "http://b.de/[[x]]", "%s@c.de"]),
        ("[url=http://a.de]A[/url]", ["[url=http://a.de]", "[/url]"]),
        ("um 12:30 von a@b.de für $5", ["12:30", "a@b.de", "5"]),
    ],
)
def test_addresses_and_placeholders_are_never_halved(text: str, expected: list[str]) -> None:
    assert [text[slice(*span)] for span, _ in find_items(text)] == expected


def test_tags_are_only_spanned_by_braces_with_their_own_beginning() -> None:
    assert find_placeholders("{{a b}} {ab} %(ab)s", (3, 10, 15)) == [(0, 7)]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_little_time(unit: str) -> None:
    taken = [_seconds((unit * size)[:size]) for size in (50_000, 100_000, 200_000)]
    assert taken[-1] <= 1.0  # 0.3 where it was written; room for slower and busier machines
    assert _is_linear(taken), taken


@pytest.mark.parametrize("piece", ["{{a}", "{a} ", "{a,date} "])
def test_time_is_linear_in_the_number_of_placeholders(piece: str) -> None:
    taken = [_seconds(piece * size) for size in (5_000, 10_000, 20_000)]
    assert _is_linear(taken), taken


def test_time_is_linear_in_the_depth_of_braces() -> None:
    taken = [_seconds("{a" * size + "}" * size) for size in (15_000, 30_000, 60_000)]
    assert _is_linear(taken), taken


def _is_linear(seconds: Sequence[float]) -> bool:
    """Whether twice the length takes at most three times as long, over all doublings together; quadratic is four."""
    return seconds[-1] <= 3 ** (len(seconds) - 1) * seconds[0] + 0.02


def _seconds(text: str) -> float:
    """CPU time, the best of three: other work on the machine only adds."""
    return min(timeit.repeat(lambda: find_items(text), timer=time.process_time, number=1, repeat=3))
