"""A pair reads as the same clean pair in whatever way the tools of translators write it.

Each habit writes sentences as one tool exports them. Its codes stand around words, around halves of words, and in
place of the space between two words.
"""

import csv
import html
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmalloc.corpus.formats.formats import find, rows
from fmalloc.corpus.report import Tally
from fmalloc_shared.languages import LanguagePair
from tests.support.examples import many

DE_EN = LanguagePair("de", "en")
# Words that look like markup or quoting, but are not.
_ODD = [
    '"Ja",',
    "R&D",
    "<",
    ">",
    "&",
    "{0}",
    "%s",
    "5\u00a0%",
    "<Enter>",
    "l'eau",
    "x@y.org",
    "[1]",
    "(so)",
    '5"',
    "<F1>",
]
_WORDS = st.one_of(
    st.text("aäbßczéñжщ你好ก", min_size=1, max_size=6), st.sampled_from(_ODD), st.sampled_from(["Haus.", "so,", "nie?"])
)
_SENTENCES = st.lists(_WORDS, min_size=1, max_size=8)
_SEEDS = st.integers(0, 2**32 - 1)


class Codes(NamedTuple):
    """How a tool writes a pair of codes around text, and a code that stands for a space."""

    pairs: tuple[tuple[str, str], ...] = ()
    spaces: tuple[str, ...] = (" ",)


class Memory(NamedTuple):
    """How a tool writes translation memories."""

    codes: Codes
    languages: tuple[str, str] = ("de", "en")
    attribute: str = "xml:lang"
    encoding: str = "utf-8"
    before: str = ""
    text: Callable[[str], str] = escape


class Table(NamedTuple):
    """How a tool writes tab-separated text."""

    quoting: int | None = None
    needs_quotes: str = '\t\n"'
    header: str = ""
    encoding: str = "utf-8"
    line_end: str = "\n"
    codes: Codes = Codes()
    text: Callable[[str], str] = str


def twice(text: str) -> str:
    return escape(html.escape(text))


def numeric(text: str) -> str:
    return "".join(f"&#{ord(letter)};" if ord(letter) > 127 or letter in "&<>\"'" else letter for letter in text)


def moses(text: str) -> str:
    return html.escape(text).replace("&#x27;", "&apos;").replace("[", "&#91;").replace("]", "&#93;")


def as_text(codes: Codes) -> Codes:
    """The same codes where the tool writes them as text into XML."""
    return Codes(tuple((escape(a), escape(b)) for a, b in codes.pairs), tuple(map(escape, codes.spaces)))


OMEGAT = Codes((("<f0>", "</f0>"), ("<a12>", "</a12>")), (" ", "<br1/>", "<x2/>"))
HTML = Codes((("<b>", "</b>"), ('<span class="x">', "</span>"), ("<I>", "</I>")), (" ", "<br>", "<br />", "</p><p>"))
MEMORIES = {
    "trados": Memory(
        Codes(
            (("<bpt i='1' type='b'>&lt;cf bold=&quot;on&quot;&gt;</bpt>", "<ept i='1'>&lt;/cf&gt;</ept>"),),
            (
                " ",
                "<ph>&lt;br/&gt;</ph>",
                "<it pos='begin'>{\\b</it>",
                "<ut>{\\line}</ut>",
                "<ph x='1'><sub>x</sub></ph>",
            ),
        ),
        ("DE-DE", "EN-US"),
        encoding="utf-16",
        before='<?xml version="1.0" encoding="utf-16"?>\n',
    ),
    "memoq": Memory(
        Codes((("<bpt i='1'>{}</bpt>", "<ept i='1'>{}</ept>"), ("[1}", "{1]")), (" ", "<ph type='fmt'>{}</ph>")),
        ("ger-DE", "eng-GB"),
        encoding="utf-8-sig",
    ),
    "omegat": Memory(
        as_text(OMEGAT), ("de_AT", "EN_us"), attribute="lang", before='<!DOCTYPE tmx SYSTEM "tmx11.dtd">\n'
    ),
    "phrase": Memory(Codes((("{b&gt;", "&lt;b}"), ("{1&gt;", "&lt;1}")), (" ", "<ph>{1}</ph>")), ("de", "en_gb")),
    "smartcat": Memory(as_text(Codes((("<1>", "</1>"),), (" ", "<2/>"))), ("x-de", "x-en")),
    "matecat": Memory(
        Codes(
            (("<g id='1'>", "</g>"), ("<bx id='1'/>", "<ex id='1'/>"), ("<mrk mtype='term'>", "</mrk>")),
            (" ", "<x id='2'/>", "<br/>", "<x id='2'/><x id='3'/>", "<x id='2'/> "),
        ),
        ("deu", "eng"),
    ),
    "hi": Memory(Codes((("<hi type='bold'>", "</hi>"),), (" ", "\n   ")), ("DE", "EN")),
    "encoded twice": Memory(as_text(HTML), text=twice),
    "html": Memory(as_text(HTML)),
}
TABLES = {
    "plain": Table(),
    "plain with codes as text": Table(header="de\ten", codes=OMEGAT),
    "excel": Table(csv.QUOTE_MINIMAL, ',\t\n"', "Source\tTarget", "utf-16", "\r\n", Codes((), (" ", "\n", "\t"))),
    "libreoffice": Table(csv.QUOTE_MINIMAL, header="German\tEnglish", codes=Codes((), (" ", "\n", " \n "))),
    "libreoffice, all text": Table(csv.QUOTE_ALL, codes=HTML),
    "entities": Table(header="Deutsch\tEnglisch", line_end="\r\n", text=html.escape),
    "numeric entities": Table(encoding="utf-8-sig", text=numeric),
}


def written(words: list[str], codes: Codes, text: Callable[[str], str], random: Random) -> str:
    """A sentence with codes around words or parts of them, and between words."""
    pieces: list[str] = []
    for index, word in enumerate(words):
        start, end = random.choice(codes.pairs) if codes.pairs and random.random() < 0.4 else ("", "")
        cut = random.randrange(len(word)) if word.isalpha() else 0
        pieces += [text(word[:cut]), start, text(word[cut:]), end]
        if index + 1 < len(words):
            following = words[index + 1]
            separable = (word[-1].isalnum() or word[-1] in ".,?") and following.isalpha()
            pieces.append(random.choice(codes.spaces) if separable else " ")
    return "".join(pieces)


def memory(pairs: list[tuple[list[str], list[str]]], tool: Memory, random: Random) -> bytes:
    units = []
    for pair in pairs:
        variants = [
            f'<tuv {tool.attribute}="{language}"><seg>{written(words, tool.codes, tool.text, random)}</seg></tuv>'
            for language, words in zip(tool.languages, pair, strict=True)
        ]
        random.shuffle(variants)
        units.append(f"<tu>{''.join(variants)}</tu>\n")
    return f'{tool.before}<tmx version="1.4"><header/><body>\n{"".join(units)}</body></tmx>'.encode(tool.encoding)


def table(pairs: list[tuple[list[str], list[str]]], tool: Table, random: Random) -> bytes:
    rows = [[written(words, tool.codes, tool.text, random) for words in pair] for pair in pairs]
    lines = [tool.header] if tool.header else []
    for row in rows:
        lines.append("\t".join(quoted(field, tool) for field in row))
    return tool.line_end.join([*lines, ""]).encode(tool.encoding)


def quoted(field: str, tool: Table) -> str:
    if tool.quoting is None or (tool.quoting == csv.QUOTE_MINIMAL and not set(field) & set(tool.needs_quotes)):
        return field
    return f'"{field.replace(chr(34), chr(34) * 2)}"'


def read(path: Path) -> list[tuple[str, ...]]:
    return [tuple(texts) for _, *texts in rows(find(path, DE_EN), DE_EN, Tally())]


def check(sentences: list[tuple[list[str], list[str]]], seed: int) -> None:
    """Write the sentences by every habit, and read them."""
    # Speech in quotation marks, as any real text has: by it, a plain table is told from a spreadsheet's.
    pairs = [*sentences, (["Er", "rief:", '"Ja"', "!"], ["He", "cried:", '"yes"', "!"])]
    expected = [(" ".join(source), " ".join(target)) for source, target in pairs]
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        for habits, ending, write in ((MEMORIES, "tmx", memory), (TABLES, "tsv", table)):
            for name, tool in habits.items():
                path = Path(folder) / f"{name}.{ending}"
                path.write_bytes(write(pairs, tool, random))
                assert read(path) == expected, (name, path.read_bytes())
        for side, language in enumerate(DE_EN):
            lines = [moses(pair[side]) for pair in expected]
            (Path(folder) / f"moses.{language}").write_text("\n".join([*lines, ""]), encoding="utf-8")
        assert read(Path(folder) / "moses") == expected


@given(st.lists(st.tuples(_SENTENCES, _SENTENCES), min_size=1, max_size=4), _SEEDS)
@settings(max_examples=200, deadline=None)
def test_a_pair_reads_alike_by_every_habit(sentences: list[tuple[list[str], list[str]]], seed: int) -> None:
    check(sentences, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(st.lists(st.tuples(_SENTENCES, _SENTENCES), min_size=1, max_size=4), _SEEDS)
@settings(max_examples=many(1_000), deadline=None)
def test_many_pairs_read_alike_by_every_habit(sentences: list[tuple[list[str], list[str]]], seed: int) -> None:
    check(sentences, seed)


def test_what_python_writes_as_excel_is_read(tmp_path: Path) -> None:
    pairs = [("a", 'b "c"'), ('"', '""'), ("eins\nzwei", "x, y")]
    text = io.StringIO()
    csv.writer(text, "excel-tab").writerows(pairs)
    (tmp_path / "a.tsv").write_text(text.getvalue(), newline="")
    assert read(tmp_path / "a.tsv") == [*pairs[:2], ("eins zwei", "x, y")]
