"""Files of every format: what is translated, what stays, and what is refused."""

import json
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import docx as python_docx
import polib
import pysubs2
import pytest
from lxml import etree

from fmalloc_runtime.files.document import FileFormatError, FileTooLargeError, Limits, Wanted, text_options
from fmalloc_runtime.files.formats import FORMATS, format_of
from fmalloc_runtime.files.inline import marked, pieces_of
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared.languages import LanguagePair
from tests.support.files import DOCUMENT_XML, PO, SAMPLES, WANTED, XLIFF, docx, read, translated, upper

XML_BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("name", SAMPLES)
def test_without_translations_a_file_stays_byte_for_byte(name: str) -> None:
    written = read(name, SAMPLES[name]).written({})
    if name.endswith(".docx"):
        before, after = (ZipFile(BytesIO(data)) for data in (SAMPLES[name], written))
        assert before.namelist() == after.namelist()
        assert all(before.read(part) == after.read(part) for part in before.namelist())
    else:
        assert written == SAMPLES[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_what_says_that_it_stays_does(name: str) -> None:
    """Words of the samples that are not to be translated are `bleibt` and `nie`."""
    before, after = SAMPLES[name], translated(name, SAMPLES[name])
    assert after != before
    for word in ("bleibt", "nie", "jamais"):
        for raw in (word.encode(), word.encode("utf-16-le")):
            expected = before.count(raw)
            if name not in ("a.docx", "a.html"):  # packed; and one text, whose kept parts the pipeline knows
                assert after.count(raw) == expected


def test_every_format_has_a_sample_and_a_row() -> None:
    assert {format_of(name) for name in SAMPLES} == set(FORMATS)


XLIFF_TARGETS = [
    ("", "Hallo", "HALLO"),
    ('<target state="new">Hallo</target>', "Hallo", "HALLO"),
    ('<target state="needs-translation"/>', "Hallo", "HALLO"),
    ("<target> </target>", "Hallo", "HALLO"),
    ("<target>Hi</target>", "Hallo", "Hi"),
    ('<target state="final">Hi</target>', "Hallo", "Hi"),
    ("<alt-trans><target>Hi</target></alt-trans>", "Hallo", "HALLO"),
]


@pytest.mark.parametrize(("target", "source", "expected"), XLIFF_TARGETS)
def test_targets_of_xliff_that_are_filled(target: str, source: str, expected: str) -> None:
    unit = f'<trans-unit id="1"><source>{source}</source>{target}</trans-unit>'
    text = f'<xliff version="1.2"><file source-language="de"><body>{unit}</body></file></xliff>'
    root = etree.fromstring(translated("a.xliff", text))
    assert root.findtext(".//trans-unit/target") == expected
    assert root.findtext(".//source") == source


def test_again_translates_what_is_translated_but_not_what_is_final() -> None:
    again = Wanted(WANTED.languages, again=True)
    out = translated("a.xliff", XLIFF, wanted=again).decode()
    assert '<target state="translated">FERTIG</target>' in out and "<target></target></trans-unit>\n      <trans" in out
    assert 'msgstr "UNGEFÄHR"' in translated("a.po", PO, wanted=again).decode()
    segment = '<segment state="final"><source>a</source><target>b</target></segment>'
    final = f'<xliff version="2.0" srcLang="de" trgLang="en"><file id="f"><unit id="u">{segment}</unit></file></xliff>'
    assert translated("a.xlf", final, wanted=again).decode() == final


def test_a_target_in_xliff_of_another_prefix() -> None:
    unit = '<x:trans-unit id="1">\r\n\t<x:source>da</x:source>\r\n</x:trans-unit>'
    text = f'<x:xliff xmlns:x="urn:x" version="1.2"><x:file source-language="de">{unit}</x:file></x:xliff>'
    assert b"</x:source>\r\n\t<x:target>DA</x:target>\r\n" in translated("a.xlf", text)


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ("nplurals=2; plural=(n != 1);", ["%d EINE", "%d VIELE"]),
        ("nplurals=1; plural=0;", ["%d VIELE"]),
        ("nplurals=3; plural=(n==0 ? 0 : n==1 ? 1 : 2);", ["%d VIELE", "%d EINE", "%d VIELE"]),
    ],
)
def test_plural_forms_of_po(forms: str, expected: list[str]) -> None:
    entries = "".join(f'msgstr[{number}] ""\n' for number in range(len(expected)))
    text = f'msgid ""\nmsgstr "Plural-Forms: {forms}\\n"\n\nmsgid "%d eine"\nmsgid_plural "%d viele"\n{entries}'
    found = polib.pofile(translated("a.po", text).decode())
    assert list(found[0].msgstr_plural.values()) == expected


def test_po_as_polib_reads_it() -> None:
    before, after = polib.pofile(PO), polib.pofile(translated("a.po", PO).decode())
    kept = (
        "msgid",
        "msgid_plural",
        "msgctxt",
        "comment",
        "tcomment",
        "occurrences",
        "flags",
        "previous_msgid",
        "obsolete",
    )
    for old, new in zip(before, after, strict=True):
        assert [getattr(old, name) for name in kept] == [getattr(new, name) for name in kept]
    assert after.metadata == before.metadata
    assert after[1].msgstr == 'EINS "UND"\nZWEI' and after[2].msgstr == "about" and "fuzzy" in after[2].flags


@pytest.mark.parametrize("name", ["a.srt", "a.vtt"])
def test_subtitles_as_pysubs2_reads_them(name: str) -> None:
    before, after = (
        pysubs2.SSAFile.from_string(data.decode(), format_=name[2:])
        for data in (SAMPLES[name], translated(name, SAMPLES[name]))
    )
    assert [(cue.start, cue.end) for cue in before] == [(cue.start, cue.end) for cue in after]
    assert [upper(cue.plaintext).replace("&AMP;", "&amp;") for cue in before] == [cue.plaintext for cue in after]


def test_a_translation_has_as_many_lines_as_its_cue_or_fewer() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nEine lange Zeile mit Text\nund kurz\n"
    longer = translated("a.srt", text, lambda _: "one two three four five six seven eight nine").decode()
    assert longer.splitlines()[2:] == ["one two three four five six seven", "eight nine"]
    assert translated("a.srt", text, lambda _: "one").decode().splitlines()[2:] == ["one"]
    assert translated("a.srt", text, lambda _: " ").decode() == text


def test_markdown_that_would_be_something_else_is_escaped() -> None:
    assert translated("a.md", "eins zwei\n", lambda _: "1. two *x").decode() == "1\\. two \\*x\n"
    assert (
        translated("a.md", "eins *zwei*\n", lambda source: source.text.replace("eins", "a*b")).decode()
        == "a*b *zwei*\n"
    )
    assert (
        translated("a.md", "eins *zwei*\n", lambda source: source.text.replace("eins", "*a*")).decode()
        == "\\*a\\* *zwei*\n"
    )
    assert translated("a.md", "# eins\n", lambda _: "- one").decode() == "# \\- one\n"
    assert translated("a.md", "eins\nzwei\n", lambda _: "one - two").decode() == "one -\ntwo\n"


def test_docx_as_python_docx_reads_it(tmp_path: object) -> None:
    made = python_docx.Document()
    made.add_heading("Titel", 1)
    paragraph = made.add_paragraph("Hallo ")
    paragraph.add_run("liebe").bold = True
    paragraph.add_run(" Welt")
    made.add_table(1, 2).cell(0, 1).text = "Zelle"
    made.sections[0].header.paragraphs[0].text = "Kopf"
    buffer = BytesIO()
    made.save(buffer)
    found = python_docx.Document(BytesIO(translated("a.docx", buffer.getvalue())))
    assert [paragraph.text for paragraph in found.paragraphs] == ["TITEL", "HALLO LIEBE WELT"]
    assert [(run.text, run.bold) for run in found.paragraphs[1].runs] == [
        ("HALLO ", None),
        ("LIEBE", True),
        (" WELT", None),
    ]
    assert found.paragraphs[0].style.name == "Heading 1"
    assert found.tables[0].cell(0, 1).text == "ZELLE" and found.sections[0].header.paragraphs[0].text == "KOPF"


def test_codes_that_come_back_in_another_order_keep_their_formats() -> None:
    bold = "<w:r><w:rPr><w:b/></w:rPr><w:t>eins</w:t></w:r>"
    document = f'<w:document xmlns:w="w"><w:p><w:r><w:t>zwei drei </w:t></w:r>{bold}</w:p></w:document>'
    written = translated("a.docx", docx(document), lambda _: '<g id="0">one</g> two')
    space = 'xml:space="preserve"'
    expected = f"<w:r><w:rPr><w:b/></w:rPr><w:t {space}>one</w:t></w:r><w:r><w:t {space}> two</w:t></w:r>"
    assert f"<w:p>{expected}</w:p>" in ZipFile(BytesIO(written)).read("word/document.xml").decode()


def test_fields_of_word() -> None:
    def field(code: str, shown: str) -> str:
        marks = [f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "separate", "end")]
        return f"{marks[0]}<w:r><w:instrText>{code}</w:instrText></w:r>{marks[1]}{shown}{marks[2]}"

    run = '<w:r><w:t xml:space="preserve">{}</w:t></w:r>'
    link, page = field('HYPERLINK "http://x"', run.format("dort")), field("PAGE", run.format("vii"))
    body = "<w:p>{}</w:p>".format("".join([run.format("Siehe "), link, run.format(" auf Seite "), page]))
    written = translated("a.docx", docx(f'<w:document xmlns:w="w">{body}</w:document>'))
    expected = body.replace("Siehe", "SIEHE").replace("dort", "DORT").replace("auf Seite", "AUF SEITE")
    assert expected in ZipFile(BytesIO(written)).read("word/document.xml").decode()
    nested = field("IF", field('HYPERLINK "x"', run.format("nie")))
    kept = f'<w:document xmlns:w="w"><w:p>{nested}{run.format("da")}</w:p></w:document>'
    assert b"nie" in ZipFile(BytesIO(translated("a.docx", docx(kept)))).read("word/document.xml")
    for cut in (page[: page.index("<w:r><w:t")], page[page.index("<w:r><w:t") :]):
        read("a.docx", docx(f'<w:document xmlns:w="w"><w:p>{run.format("da")}{cut}</w:p></w:document>'))


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("<keine Auswahl>", "<keine Auswahl>"),
        ("a <b und c> d", "a <b und c> d"),
        ("a < 2 > 0 b", "a < 2 > 0 b"),
        ("<b>eins</b> zwei", '<g id="0">eins</g> zwei'),
        ("eins<br>zwei <a href='x'>", 'eins<x id="0"/>zwei <x id="1"/>'),
        ("<b>eins</b> <keine Wahl>", '<g id="0">eins</g> &lt;keine Wahl&gt;'),
        ("eins</b>", 'eins<x id="0"/>'),
        ("<b><i>a</b></i>", '<g id="0"><x id="1"/>a</g><x id="3"/>'),
    ],
)
def test_tags_in_strings(text: str, read_as: str) -> None:
    assert marked(pieces_of(text)).source.text == read_as
    escaped = text.replace("<", "&lt;")
    out = translated("a.xliff", f"{XML_HEAD}<trans-unit><source>{escaped}</source></trans-unit></file></xliff>")
    target = etree.fromstring(out).findtext(".//target")
    assert target is not None and target.count("<") == text.count("<") and target.lower() == text.lower()


def test_a_code_that_is_lost_leaves_the_unit_as_it_is() -> None:
    out = translated("a.xliff", XLIFF, lambda _: "ohne").decode()
    assert out.count("ohne") == 0


def encrypted() -> bytes:
    data = bytearray(docx())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    return bytes(data)


def named(name: str) -> bytes:
    buffer = BytesIO(docx())
    with ZipFile(buffer, "a") as archive:
        archive.writestr(ZipInfo(name), b"x")
    return buffer.getvalue()


def many() -> bytes:
    buffer = BytesIO(docx())
    with ZipFile(buffer, "a", ZIP_STORED) as archive:
        for number in range(5_000):
            archive.writestr(f"word/media/{number}", b"")
    return buffer.getvalue()


def bomb() -> bytes:
    buffer = BytesIO(docx())
    with ZipFile(buffer, "a", ZIP_DEFLATED) as archive:
        archive.writestr("word/media/x", bytes(8 * 2**20))
    return buffer.getvalue()


XML_HEAD = '<xliff version="1.2"><file source-language="de">'
FRENCH = XML_HEAD.replace('"de"', '"fr"')
OTHER_TMX = '<tmx><body><tu><tuv xml:lang="fr"><seg>a</seg></tuv></tu></body></tmx>'
REFUSED: list[tuple[str, bytes | str, str]] = [
    ("a.docx", encrypted(), "is encrypted: save it without a password"),
    ("a.docx", named("../x"), "'../x' is not the name of a part"),
    ("a.docx", named("/x"), "'/x' is not the name of a part"),
    ("a.docx", named("c:x"), "is not the name of a part"),
    ("a.docx", named("WORD/document.xml"), "two parts of the archive have the same name"),
    ("a.docx", many(), "5002 parts in the archive, at most 5000"),
    ("a.docx", bomb(), "times, at most 200 times is read"),
    ("a.docx", docx(word__vbaProject_dot_bin=b"x"), "has macros"),
    ("a.docx", docx(types="<Types>macroEnabled</Types>"), "has macros"),
    ("a.docx", docx(types="<Types/>"), "names no document of Word"),
    ("a.docx", docx(OUTSIDE + DOCUMENT_XML.partition("?>")[2]), "entity 'a'"),
    ("a.docx", docx()[:-40], "is no DOCX"),
    ("a.docx", b"\xd0\xcf\x11\xe0" + bytes(600), "is encrypted or a .doc"),
    ("a.docx", b"", "is no DOCX"),
    ("a.docm", b"", "save it as .docx, without macros"),
    ("a.doc", b"", "save it as .docx"),
    ("a.exe", b"", "expected a name that ends in one of .xliff"),
    ("a", b"", "expected a name that ends"),
    ("a.xliff", XML_BOMB + "<xliff/>", "entity 'a': XML with entities of its own is not read"),
    ("a.tmx", OUTSIDE + "<tmx>&a;</tmx>", "entity 'a'"),
    ("strings.xml", XML_BOMB + "<resources>&b;</resources>", "entity 'a'"),
    ("a.xliff", XML_HEAD, "a.xliff:1: is not well-formed XML"),
    ("a.xliff", "<a>" * 201 + "</a>" * 201, "more than 200 elements in each other"),
    ("a.xliff", b"", "is not well-formed XML: no element found"),
    ("a.xliff", "<html/>", "<html version=''>: expected <xliff>"),
    ("a.xliff", '<xliff version="3.0"/>', "version='3.0'"),
    ("a.xliff", f"{FRENCH}</file></xliff>", "a.xliff:1: the source language is 'fr', but de to en"),
    ("a.xlf", '<xliff version="2.0" srcLang="de" trgLang="fr-FR"/>', "the target language is 'fr-FR'"),
    ("a.xliff", b'<?xml version="1.0" encoding="UTF-7"?><xliff/>', "encoding 'UTF-7' is not read"),
    ("a.xliff", b'<?xml version="1.0" encoding="utf-8"?><xliff>\n\xff</xliff>', "a.xliff:2: byte 0xff is not utf-8"),
    ("a.tmx", OTHER_TMX, "no unit is in the source language, de: found fr"),
    ("a.tmx", "<xliff/>", "expected <tmx>"),
    ("a.po", "msgid \"a\nmsgstr \"\"\n", "a.po:1: 'msgid \"a' is not PO"),
    ("a.po", "hallo\n", "a.po:1: 'hallo' is not PO"),
    ("a.po", 'msgstr ""\n', "a.po:1: msgstr without msgid"),
    ("a.po", 'msgid ""\nmsgstr "Language: fr\\n"\n', "the target language is 'fr'"),
    ("a.po", 'msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=__import__(1);\\n"\n', "is not an expression"),
    ("a.po", 'msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=1/0;\\n"\n', "is not an expression"),
    ("a.srt", "Hallo\nWelt\n", "no line has times"),
    ("a.vtt", "00:01.000 --> 00:02.000\nx\n", "a.vtt:1: expected WEBVTT"),
    ("a.json", "{", "not JSON in UTF-8"),
    ("a.json", '{"a": 1, "a": 2}', "key 'a' is given twice"),
    ("a.json", "[" * 100_000, "not JSON in UTF-8"),
    ("a.vtt", "WEBVTT\n\n\0\0", "a.vtt:3: a NUL character"),
    ("a.html", b"<p>Hallo</p>" + bytes(99), "a.html:1: a NUL character"),
    ("a.txt", b"\x80", "a.txt:1: byte 0x80 is not utf-8"),
    ("a.strings", "a = b;", "a.strings:1: 'b;': expected a \"value\""),
    ("a.strings", '"a" = "b"', "ends where ; is expected"),
    ("a.strings", b"bplist00", "is a binary property list"),
    ("a.stringsdict", "<x/>", "expected <plist>"),
    ("strings.xml", "<x/>", "expected <resources>"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "message"), REFUSED)
def test_refused(name: str, data: bytes | str, message: str) -> None:
    with pytest.raises((FileFormatError, FileTooLargeError)) as error:
        read(name, data)
    assert message in str(error.value) and str(error.value).startswith(name)


def test_limits() -> None:
    small = Wanted(WANTED.languages, limits=Limits(size=100))
    with pytest.raises(FileTooLargeError, match="101 bytes, at most 100"):
        read("a.txt", b"a" * 101, small)
    with pytest.raises(FileTooLargeError, match="bytes unpacked, at most 2000 are read"):
        read("a.docx", docx(word__x=bytes(2_000)), Wanted(WANTED.languages, limits=Limits(size=2_000)))
    text = Wanted(WANTED.languages, limits=Limits(text=1_000))
    for name, data in (("a.txt", b"a" * 1_001), ("a.docx", docx()), ("a.md", b"a" * 201)):
        with pytest.raises(FileTooLargeError, match=r"bytes of text and markup, at most (1000|200) are read"):
            read(name, data, text)
    with pytest.raises(FileTooLargeError, match="11 characters in one unit, at most 10"):
        read("a.txt", b"a\nhallo hallo\n", Wanted(WANTED.languages, limits=Limits(unit=10)))


def test_encodings() -> None:
    latin = '<?xml version="1.0" encoding="ISO-8859-1"?><resources><string name="a">Gruß</string></resources>'
    out = translated("strings.xml", latin.encode("latin-1"), lambda _: "Größe – 3 €")
    assert out == latin.replace("Gruß", "Größe &#8211; 3 &#8364;").encode("latin-1")
    for encoding, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"), ("utf-8", b"\xef\xbb\xbf")):
        assert translated("a.txt", mark + "größer\r\n".encode(encoding)) == mark + "GRÖßER\r\n".encode(encoding)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=ISO-8859-1\\n"\n\nmsgid "grün"\nmsgstr ""\n'
    assert 'msgstr "GRÜN"'.encode("latin-1") in translated("a.po", header.encode("latin-1"))
    with pytest.raises(FileFormatError, match="'–' of the translation cannot be written in iso8859-1"):
        translated("a.po", header.encode("latin-1"), lambda _: "–")


def test_characters_that_xml_and_json_escape() -> None:
    text = "a & b < c > \" ' \\ 😀"
    assert json.loads(translated("a.json", '["da"]', lambda _: text)) == [text]
    unit = f"{XML_HEAD}<trans-unit><source>da</source></trans-unit></file></xliff>"
    assert etree.fromstring(translated("a.xliff", unit, lambda _: text)).findtext(".//target") == text
    assert polib.pofile(translated("a.po", 'msgid "da"\nmsgstr ""\n', lambda _: text).decode())[0].msgstr == text
    assert json.loads(translated("a.json", '["da \\ud800"]')) == ["DA \ud800"]


def test_elements_of_html_are_those_of_html() -> None:
    (source,) = read("a.html", b"<p>Das ist <s>nicht</s> wahr.</p>").sources()
    assert text_options(TextOptions(), [source]) == TextOptions(format="html")


def test_a_language_pair_in_another_habit() -> None:
    assert read("a.xliff", XLIFF, Wanted(LanguagePair("deu_Latn", "eng_Latn"))).units
