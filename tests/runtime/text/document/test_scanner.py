"""Markup as tokens, however broken."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmalloc_runtime.text.document.scanner import scan

HOSTILE = ["<", "<a", '<a "', '<a b="', "<!--", "</", "</a", "<![CDATA[", "<?", "<!a", "<!a [", "<script>", '<a b="">']


def tokens(text: str, html: bool = True) -> list[tuple[str, str]]:
    return [(token.kind, text[token.begin : token.end]) for token in scan(text, html)]


def test_attributes_may_hold_anything() -> None:
    text = """<a href="x>y" title='<b> "z"' data-x=1 hidden>Ja</a>"""
    assert tokens(text) == [("open", text[:-6]), ("text", "Ja"), ("close", "</a>")]


@pytest.mark.parametrize(
    "single",
    [
        "<!-- a > <b> -->",
        "<br/>",
        "<x id='1' />",
        "<!DOCTYPE html>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]>",
        "<![CDATA[<b>]]>",
    ],
)
def test_what_stands_alone(single: str) -> None:
    assert tokens(f"a{single}b") == [("text", "a"), ("single", single), ("text", "b")]


def test_scripts_are_not_markup_in_html() -> None:
    script = "<script type='a'>if (a < b) document.write('<p>')</SCRIPT >"
    assert tokens(script) == [("raw", script)]
    assert [kind for kind, _ in tokens("<?php a > b ?>", html=False)] == ["single"]


@pytest.mark.parametrize("text", ["a < b", "1<2", "<3", "</>", "< b>", "a <b", "<!-- a", "it's < \"x", "<a href='b>c"])
def test_what_is_no_markup_is_text(text: str) -> None:
    assert tokens(text) == [("text", text)] or tokens(text) == [
        ("text", text[: text.index("<")]),
        ("text", text[text.index("<") :]),
    ]


@given(st.text(st.sampled_from("<>/!-=\"' ab[]?"), max_size=60), st.booleans())
def test_tokens_cover_the_text(text: str, html: bool) -> None:
    assert "".join(piece for _, piece in tokens(text, html)) == text


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_with_length_alone(unit: str) -> None:
    begin = time.process_time()
    scan(unit * (100_000 // len(unit)), html=True)
    assert time.process_time() - begin < 5
