"""Whatever a file holds and whatever the model says, only targets change; libraries of each format are the judges."""

import json
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import polib
import pysubs2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from markdown_it import MarkdownIt

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.files.document import batches, text_options
from fmalloc_runtime.files.inline import pieces_of
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.pipeline import work_on
from fmalloc_runtime.text.translation import TextOptions, drive
from tests.support.adversary import Adversary
from tests.support.bundles import CPU, SENTENCES, bundle_of
from tests.support.files import docx, read

WORDS = sorted({word for lines in SENTENCES.values() for word in lines[0].split()})
ITEMS = [
    "%s",
    "{name}",
    "%1$d",
    "5",
    "http://a.de/?b=c",
    "a@b.de",
    "&",
    "<",
    ">",
    '"',
    "'",
    "\\",
    "😀",
    "日本語",
    "|",
    "*",
]
TAGS = ["<b>", "</b>", "<br/>", "<i>", "</i>", "&nbsp;"]
XML = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")
plain = st.lists(st.sampled_from([*WORDS, *WORDS, *ITEMS]) | st.text(XML, max_size=3), max_size=12).map(" ".join)
tagged = st.lists(st.sampled_from([*WORDS, *ITEMS, *TAGS]), max_size=12).map(" ".join)
seeds = st.integers(0, 2**32)
fast = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def model(bundles: Path) -> Translator:
    return Translator.load(Bundle.read(bundle_of(bundles, "it")), CPU)


def translated(name: str, data: bytes, model: Translator, seed: int) -> bytes:
    """The file as an adversary translates it."""
    document = read(name, data)
    assert name.endswith(".docx") or document.written({}) == data
    adversary, found = Adversary(model, seed), {}
    for batch in batches(document.sources()):
        options = text_options(TextOptions(), batch)
        made = drive(work_on([source.text for source in batch], options, model), adversary.answer)
        found |= {source: translation.text for source, translation in zip(batch, made, strict=True)}
    return document.written(found)


@st.composite
def inline(draw: st.DrawFn, depth: int = 2) -> list[Any]:
    """Content of an XLIFF source: text and elements, as a list."""
    parts: list[Any] = []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["text", "text", "g", "x", "bpt", "mrk"]))
        if kind == "text":
            parts.append(draw(plain))
        elif kind in ("g", "mrk"):
            parts.append((kind, draw(inline(depth - 1)) if depth else [draw(plain)]))
        else:
            parts.append((kind, [draw(plain)] if kind == "bpt" else []))
    return parts


def fill(element: Any, parts: list[Any], number: list[int]) -> None:
    for part in parts:
        if isinstance(part, str):
            if len(element):
                element[-1].tail = (element[-1].tail or "") + part
            else:
                element.text = (element.text or "") + part
        else:
            number[0] += 1
            attributes = {"id": str(number[0])} | ({"mtype": "x"} if part[0] == "mrk" else {})
            fill(etree.SubElement(element, part[0], attributes), part[1], number)


def codes(element: Any) -> Counter[tuple[str, str]]:
    return Counter((inner.tag, inner.get("id")) for inner in element.iterdescendants())


@fast
@given(units=st.lists(inline(), min_size=1, max_size=4), seed=seeds)
def test_xliff(units: list[list[Any]], seed: int, model: Translator) -> None:
    root = etree.Element("xliff", version="1.2")
    body = etree.SubElement(etree.SubElement(root, "file", {"source-language": "de"}), "body")
    for parts in units:
        fill(etree.SubElement(etree.SubElement(body, "trans-unit"), "source"), parts, [0])
    data = etree.tostring(root, encoding="utf-8", xml_declaration=True)
    after = etree.fromstring(translated("a.xliff", data, model, seed))
    for target in list(after.iter("target")):
        source = target.getparent().find("source")
        assert codes(target) == codes(source)
        assert [bpt.text for bpt in sorted(target.iter("bpt"), key=lambda x: x.get("id"))] == [
            bpt.text for bpt in sorted(source.iter("bpt"), key=lambda x: x.get("id"))
        ]
        target.getparent().remove(target)
    assert etree.tostring(after, method="c14n") == etree.tostring(root, method="c14n")


@fast
@given(entries=st.lists(st.tuples(tagged, tagged), max_size=5), again=st.lists(st.booleans(), max_size=5), seed=seeds)
def test_po(entries: list[tuple[str, str]], again: list[bool], seed: int, model: Translator) -> None:
    file = polib.POFile(check_for_duplicates=False)
    file.metadata = {"Language": "en", "Plural-Forms": "nplurals=2; plural=(n != 1);"}
    for number, (one, many) in enumerate(entries):
        entry = polib.POEntry(msgid=f"{one}\n{number}", comment="c", occurrences=[("a", "1")], flags=["c-format"])
        if number % 2:
            entry.msgid_plural, entry.msgstr_plural = (
                many,
                {0: "", 1: "da" if number < len(again) and again[number] else ""},
            )
        file.append(entry)
    before = polib.pofile(str(file))
    after = polib.pofile(translated("a.po", str(file).encode(), model, seed).decode())
    for old, new in zip(before, after, strict=True):
        if old.msgstr_plural:
            assert old.msgstr_plural[1] in ("", new.msgstr_plural[1])
        elif new.msgstr:
            tags = [
                Counter(piece.raw for piece in pieces_of(text) if piece.kind != "text")
                for text in (old.msgid, new.msgstr)
            ]
            assert tags[0] == tags[1] and new.msgstr.count("\n") == old.msgid.count("\n")
        new.msgstr, new.msgstr_plural = old.msgstr, old.msgstr_plural
    assert str(after) == str(before)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | tagged | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@fast
@given(value=values, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]), seed=seeds)
def test_json(value: Any, ascii_only: bool, indent: int | None, seed: int, model: Translator) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    after = json.loads(translated("a.json", data, model, seed))
    assert shape(after) == shape(value)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: value[key] if key.startswith("@") else shape(value[key]) for key in value}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "text" if isinstance(value, str) else value


lines = st.lists(st.sampled_from([*WORDS, "<i>", "</i>", "%s", "5"]), min_size=1, max_size=6).map(" ".join)


@fast
@given(cues=st.lists(st.lists(lines, min_size=1, max_size=3), min_size=1, max_size=4), vtt=st.booleans(), seed=seeds)
def test_subtitles(cues: list[list[str]], vtt: bool, seed: int, model: Translator) -> None:
    clock = "00:00:{:02}.000 --> 00:00:{:02}.500" if vtt else "00:00:{:02},000 --> 00:00:{:02},500"
    blocks = [f"{n + 1}\n{clock.format(n, n)}\n" + "".join(f"{line}\n" for line in cue) for n, cue in enumerate(cues)]
    text = ("WEBVTT\n\n" if vtt else "") + "\n".join(blocks)
    kind = "vtt" if vtt else "srt"
    out = translated(f"a.{kind}", text.encode(), model, seed).decode()
    before, after = (pysubs2.SSAFile.from_string(data, format_=kind) for data in (text, out))
    assert [(cue.start, cue.end) for cue in before] == [(cue.start, cue.end) for cue in after]
    for old, new in zip(cues, out.removeprefix("WEBVTT\n\n").split("\n\n"), strict=True):
        said = new.strip("\n").split("\n")[2:]
        assert 1 <= len(said) <= len(old)
        assert Counter(piece.raw for piece in pieces_of(" ".join(said)) if piece.kind != "text") == Counter(
            piece.raw for piece in pieces_of(" ".join(old)) if piece.kind != "text"
        )


pieces = st.sampled_from(
    [
        *WORDS,
        *WORDS,
        "*eins*",
        "**zwei**",
        "`code`",
        "[a b](http://x.de/(y) 't')",
        "![i](j.png)",
        "\\*",
        "&amp;",
        "<b>x</b>",
        "~~weg~~",
        "5",
        "%s",
        "2 * 3",
        "_",
        "#",
        "1.",
    ]
)
paragraph = st.lists(pieces, min_size=1, max_size=8).map(" ".join)
block = st.tuples(st.sampled_from(["", "# ", "> ", "- ", "1. ", "    "]), st.lists(paragraph, min_size=1, max_size=3))


@fast
@given(blocks=st.lists(block, max_size=5), seed=seeds)
def test_markdown(blocks: list[tuple[str, list[str]]], seed: int, model: Translator) -> None:
    text = "\n\n".join("\n".join(f"{prefix}{line}" for line in part) for prefix, part in blocks) + "\n"
    out = translated("a.md", text.encode(), model, seed).decode()
    assert structure(out) == structure(text)
    assert out.count("\n") <= text.count("\n")


def structure(text: str) -> list[Any]:
    found: list[Any] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        if token.type != "inline":
            found.append((token.type, token.markup, token.info, token.content, token.level))
        else:
            kinds = Counter(
                (child.type, child.markup, str(child.attrs), child.content if child.type == "code_inline" else "")
                for child in token.children or ()
                if child.type not in ("text", "softbreak")
            )
            found.append(sorted(map(str, kinds.items())))
    return found


FORMATS = ["", "<w:rPr><w:b/></w:rPr>", '<w:rPr><w:color w:val="FF0000"/></w:rPr>']
runs = st.tuples(st.sampled_from(FORMATS), plain, st.sampled_from(["", "", "<w:tab/>", '<w:drawing r="1"/>']))


@fast
@given(paragraphs=st.lists(st.lists(runs, max_size=5), min_size=1, max_size=3), link=st.booleans(), seed=seeds)
def test_docx(paragraphs: list[list[tuple[str, str, str]]], link: bool, seed: int, model: Translator) -> None:
    def written(run: tuple[str, str, str]) -> str:
        escaped = run[1].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        inner = f'<w:r>{run[0]}{run[2]}<w:t xml:space="preserve">{escaped}</w:t></w:r>'
        return f'<w:hyperlink w:id="1">{inner}</w:hyperlink>' if link and run[2] else inner

    body = "".join(f"<w:p><w:pPr/>{''.join(map(written, part))}</w:p>" for part in paragraphs)
    data = docx(f'<w:document xmlns:w="w"><w:body>{body}</w:body></w:document>', word__media__a_dot_png=b"\x00\xff")
    out = translated("a.docx", data, model, seed)
    before, after = (ZipFile(BytesIO(content)) for content in (data, out))
    assert after.read("word/media/a.png") == b"\x00\xff" and after.namelist() == before.namelist()
    trees = [etree.fromstring(archive.read("word/document.xml")) for archive in (before, after)]
    for old, new in zip(*([tree.iter("{w}p") for tree in trees]), strict=True):
        for tag in ("pPr", "tab", "drawing", "hyperlink"):
            assert len(list(old.iter(f"{{w}}{tag}"))) == len(list(new.iter(f"{{w}}{tag}")))


@fast
@given(rows=st.lists(tagged, max_size=4), seed=seeds)
def test_strings_of_apps(rows: list[str], seed: int, model: Translator) -> None:
    android = etree.Element("resources")
    for number, row in enumerate(rows):
        etree.SubElement(android, "string", name=str(number)).text = row.replace("\\", "\\\\").replace("'", "\\'")
    data = etree.tostring(android, encoding="utf-8")
    after = etree.fromstring(translated("strings.xml", data, model, seed))
    assert [element.get("name") for element in after] == [element.get("name") for element in android]
    quoted = [row.replace("\\", "\\\\").replace('"', '\\"') for row in rows]
    text = "".join(f'/* {number} */ "k{number}" = "{row}";\n' for number, row in enumerate(quoted))
    out = translated("a.strings", text.encode(), model, seed).decode()
    assert [line.partition(" = ")[0] for line in out.splitlines()] == [
        line.partition(" = ")[0] for line in text.splitlines()
    ]
