"""Entities and tags that stand as text in what tools export."""

import time

import pytest

from fmalloc.corpus.formats.markup import plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Das <f0>ist das </f0>Haus<br1/>.", "Das ist das Haus."),
        ("<b>Fett</b> gedruckt", "Fett gedruckt"),
        ("half<B>way</B>", "halfway"),
        ("eins<br>zwei<BR />drei", "eins zwei drei"),
        ("<p>Erstens.</p><p>Zweitens</p>", "Erstens. Zweitens"),
        ('<a href="x.html" target=_top>hier</a>', "hier"),
        ('Haus<x id="1" equiv-text="&lt;br/&gt;"/>von', "Haus von"),
        ("<mrk mtype='seg' mid='1'>Eins.</mrk><mrk mtype='seg'>Zwei.</mrk>", "Eins. Zwei."),
        ("<mrk mtype='term'>Haus</mrk>tür", "Haustür"),
        ("<bpt id='1'>&lt;b&gt;</bpt>fett<ept id='1'>&lt;/b&gt;</ept>", "fett"),
        ("a<ph>{0}</ph>b, c<ph>{1}</ph>.", "a b, c."),
        ("<1>eins</1> <2/>zwei", "eins zwei"),
        ("<uicontrol>OK</uicontrol> <cf bold='True'>jetzt", "OK jetzt"),
        ("{1>eins {b>zwei<b}<1} [2}drei{2]", "eins zwei drei"),
        ("<key>Strg</key><key>C</key>, <span>Ha</span><span lang='de'>us</span>", "Strg C, Haus"),
        ("<i></i>", ""),
    ],
)
def test_tags_are_taken_out(text: str, expected: str) -> None:
    assert plain(text) == (expected, "&" in text and "equiv" not in text and "bpt" not in text, True)


@pytest.mark.parametrize(
    ("text", "expected", "tags"),
    [
        ("M&amp;S", "M&S", False),
        ("M&amp;amp;amp;S", "M&S", False),
        ("&quot;I&apos;m&quot; &#39;&#x27; &#228;&NBSP;&nbsp;5&euro;", "\"I'm\" '' ä&NBSP;\u00a05€", False),
        ("eins&#10;zwei&#9;drei", "eins zwei drei", False),
        ("&lt;b&gt;fett&lt;/b&gt;", "fett", True),
        ("&amp;lt;br/&amp;gt;", "", True),
        ("drücken Sie &lt;Enter&gt;", "drücken Sie <Enter>", False),
    ],
)
def test_entities_are_decoded(text: str, expected: str, tags: bool) -> None:
    assert plain(text) == (expected, True, tags)


@pytest.mark.parametrize(
    "text",
    [
        "a < b > c",
        "Press <F1> or <Enter>",
        "<name@example.org> <https://example.org>",
        "Vec<f64> List<String> #include <stdio.h>",
        "SELECT * FROM <table>",
        "use <Br>, not <h2>, in </home/> or </home>",
        r"(?<1>\w)\k<1>",
        "{0} of {1}, %s, {name}, ${x}, [1]",
        "R&D, AT&T; &notit; &; &#; &#xZZ;",
        "?a=1&copy=2&lt",
        "  two  spaces stay ",
        "{x>0}",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert plain(text) == (text, False, False)


@pytest.mark.parametrize("piece", ["<a ", "<ph>", "<a x='", "<q>", "{b>", "&amp", "&amp;", "<b>x</b>", "<b", "&#", "<"])
def test_time_is_linear_in_the_length(piece: str) -> None:
    def seconds(count: int) -> float:
        before = time.process_time()
        plain(piece * count)
        return time.process_time() - before

    assert seconds(16_000) < 40 * seconds(1000) + 0.05
