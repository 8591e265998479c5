import gzip
import os
import tracemalloc
from pathlib import Path

import pytest

from fmalloc.corpus import Pair, read_corpus, read_pairs
from fmalloc.corpus.formats.formats import rows
from fmalloc.corpus.formats.tmx import tmx_rows
from fmalloc.corpus.report import Tally
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

DE_EN = LanguagePair("de", "en")


def variant(language: str, text: str, attribute: str = "xml:lang") -> str:
    return f'<tuv {attribute}="{language}"><seg>{text}</seg></tuv>'


def unit(*variants: str) -> str:
    return f"<tu><prop type='x'>de</prop>\n{''.join(variants)}</tu>\n"


def memory(*units: str, before: str = "") -> str:
    return f'{before}<tmx version="1.4">\n<header srclang="de"/>\n<body>\n{"".join(units)}</body></tmx>\n'


def read(tmp_path: Path, text: str | bytes, languages: LanguagePair = DE_EN) -> list[tuple[str, str]]:
    path = tmp_path / "a.tmx"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_pairs(path, languages))


JA = unit(variant("de", "Ja"), variant("en", "Yes"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    declared = encoding.removesuffix("-sig")
    text = memory(
        unit(variant("de", "Bär"), variant("en", "“bear”")), before=f'<?xml version="1.0" encoding="{declared}"?>'
    )
    assert read(tmp_path, text.encode(encoding)) == [("Bär", "“bear”")]
    assert read(tmp_path, gzip.compress(text.encode(encoding))) == [("Bär", "“bear”")]


@pytest.mark.parametrize(
    ("languages", "tags", "chosen"),
    [
        (DE_EN, ("de", "en"), "01"),
        (DE_EN, ("EN_us", "DE-de"), "10"),
        (DE_EN, ("de-AT", "de", "de", "en-GB"), "13"),
        (DE_EN, ("de-AT", "de-DE", "en-GB", "en-US"), "02"),
        (LanguagePair("de_DE", "en_XX"), ("de", "de-AT", "DE-DE", "en"), "23"),
        (LanguagePair("deu_Latn", "eng_Latn"), ("fr", "de-CH", "en-GB"), "12"),
        (DE_EN, ("ger-DE", "eng-US"), "01"),
        (DE_EN, (" x-de-DE ", "x_en"), "01"),
        (DE_EN, ("x-klingon", "deu", "ENG_gb"), "12"),
        (LanguagePair("de-AT", "en"), ("de", "ger_DE", "ger_AT", "en"), "23"),
        (LanguagePair("en-US", "en-GB"), ("eng-GB", "eng-US"), "10"),
        (LanguagePair("en-US", "en-GB"), ("en", "en-GB", "en-US"), "21"),
        (LanguagePair("en", "en-GB"), ("en-US", "en-GB", "en"), "21"),
    ],
)
def test_the_variant_that_fits_best_is_taken(
    tmp_path: Path, languages: LanguagePair, tags: tuple[str, ...], chosen: str
) -> None:
    text = memory(unit(*(variant(tag, str(index)) for index, tag in enumerate(tags))))
    assert ["".join(pair) for pair in read(tmp_path, text, languages)] == [chosen]


def test_the_older_attribute_names_a_language_too(tmp_path: Path) -> None:
    text = memory(unit(variant("de", "Ja", "lang"), variant("en", "Yes", "lang")))
    assert read(tmp_path, text) == [("Ja", "Yes")]


def test_units_without_both_languages_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    few = unit(variant("de", "Nein"), variant("fr", "Non"))
    empty = unit(variant("de", "Leer"), "<tuv xml:lang='en'><seg/></tuv>")
    path.write_text(
        memory(few, empty, *(unit(variant("de", f"Satz {i}"), variant("en", f"s {i}")) for i in range(200)))
    )
    report = read_corpus(path, DE_EN).report
    assert report.read == 202
    assert {reason: dropped.pairs for reason, dropped in report.dropped.items()} == {
        "not in both de and en": 1,
        "empty side": 1,
    }
    assert str(report.dropped["not in both de and en"].first) == f"{path}:4"


def test_references_to_invisible_characters_are_not_learned(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    units = (unit(variant("de", f"Ser&#173;ver {i}"), variant("en", f"ser&#xAD;ver {i}&#8203;")) for i in range(200))
    path.write_text(memory(*units))
    corpus = read_corpus(path, DE_EN)
    assert corpus.train and all("Server" in pair.source and "server" in pair.target for pair in corpus.train)
    assert not any(pair.target.endswith("\u200b") for pair in corpus.train)
    assert corpus.report.cleaned["invisible characters taken out"].pairs == 200


def test_no_unit_in_both_languages_lists_those_found(tmp_path: Path) -> None:
    units = [unit(variant("de-DE", "Ja"), variant("fr", "Oui")), unit(variant("fr", "Non"), variant("x-en-y", "No"))]
    with pytest.raises(FmallocError, match=r"no unit has both nl and en; .*: fr \(2\), de-DE \(1\), x-en-y \(1\)"):
        read(tmp_path, memory(*units), LanguagePair("nl", "en"))
    with pytest.raises(FmallocError, match=r"no unit has both de and en; .*: fr \(2\), de-DE \(1\), x-en-y \(1\)"):
        read(tmp_path, memory(*units))
    with pytest.raises(FmallocError, match=r"no unit has text"):
        read(tmp_path, memory())


def test_what_was_cleaned_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    texts = ("Ja", "<ph>x</ph>Ja", "&lt;b&gt;Ja&lt;/b&gt;", "M&amp;amp;S", "<hi>Ja</hi>")
    units = (unit(variant("de", text), variant("en", text)) for text in texts)
    path.write_text(memory(*units))
    tally = Tally()
    assert {row[1:] for row in rows((path,), DE_EN, tally)} == {("Ja", "Ja"), ("M&S", "M&S")}
    assert tally.cleaned == {
        "inline codes taken out": (2, (path, 6)),
        "tags taken out": (1, (path, 8)),
        "entities decoded": (1, (path, 10)),
    }


def test_mixed_regions_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    regions = ("pt-BR", "pt-PT", "pt-PT")
    path.write_text(memory(*(unit(variant("de", str(i)), variant(pt, "x")) for i, pt in enumerate(regions))))
    tally = Tally()
    assert len(list(tmx_rows(path, LanguagePair("de", "pt"), tally))) == 3
    assert tally.warnings == [f"{path}: pt occurs in several variants, all of which were used: pt-PT (2), pt-BR (1)"]


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ("Click <bpt i='1'>&lt;b&gt;</bpt>OK<ept i='1'>&lt;/b&gt;</ept>.", "Click OK."),
        ("half<bpt i='1'>{</bpt>way<ept i='1'>}</ept>", "halfway"),
        ("one<ph>&lt;br/&gt;</ph>two", "one two"),
        ("File<ph>{0}</ph>, please<it pos='end'>}</it>", "File, please"),
        ("the house<x id='2'/>of <g id='1'>An</g>na", "the house of Anna"),
        ("one<br/>two.<br/>Three, <bx id='1'/>four<ex id='1'/>.", "one two. Three, four."),
        ("<mrk mtype='seg' mid='1'>One.</mrk><mrk mtype='seg' mid='2'>Two</mrk>", "One. Two"),
        ("<mrk mtype='term'>house</mrk>hold", "household"),
        ("(<x id='1'/>one<x id='2'/>)", "(one)"),
        ("<g id='1'>a <ph id='2'>&lt;br/&gt;</ph> b <it pos='begin'>{</it></g>c", "a b c"),
        ("This &lt;f0&gt;is the &lt;/f0&gt;house&lt;br1/&gt;.", "This is the house."),
        ("M&amp;amp;S say &amp;quot;hi&amp;quot;", 'M&S say "hi"'),
        ("one<ph>a</ph><ut>b</ut>two <ph>c</ph>three", "one two three"),
        ("see <ph>&lt;fn text='<sub>a footnote</sub>'/&gt;</ph>below", "see below"),
        ("a <hi type='bold'>bold <hi>word</hi></hi>", "a bold word"),
        ("\n  over\n\tlines \u2028 here  ", "over lines here"),
        ("5\u00a0% &amp; &#x41;<![CDATA[<x>]]>", "5\u00a0% & A<x>"),
    ],
)
def test_codes_inside_a_segment_are_dropped_and_text_is_kept(tmp_path: Path, segment: str, text: str) -> None:
    assert read(tmp_path, memory(unit(variant("de", "x"), variant("en", segment)))) == [("x", text)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (memory(JA, "<tu></tuv>"), r"a.tmx:6: malformed TMX: mismatched tag"),
        (memory(JA)[:-20], r"a.tmx:\d: malformed TMX: "),
        (memory(JA, JA).partition("</tu>")[0] + "</tu>\n", r"a.tmx:6: malformed TMX: it ends too early"),
        (memory(JA, "\x1f"), r"a.tmx:6: malformed TMX: not well-formed \(invalid token\)"),
        (memory(JA, "&#x1f;"), r"a.tmx:6: malformed TMX: reference to invalid character number"),
        (memory(JA, "R&D"), r"a.tmx:6: malformed TMX: "),
        (memory(JA).encode("utf-8").replace(b"Ja", b"J\xe4"), r"a.tmx:5: malformed TMX: not well-formed"),
        ("<xliff/>", r"a.tmx:1: malformed TMX: the root element is <xliff>, expected <tmx>"),
        ("", r"a.tmx:1: malformed TMX: it ends too early"),
        ('<?xml version="1.0" encoding="klingon"?><tmx/>', r"a.tmx:1: unknown encoding: klingon; convert"),
        (
            '<?xml version="1.0" encoding="shift_jis"?><tmx/>',
            r"a.tmx:1: multi-byte encodings are not supported; convert",
        ),
        ("ja\tyes\n", r"a.tmx:1: malformed TMX: "),
        (memory(JA, unit("<tuv><seg>Ja</seg></tuv>")), r"a.tmx:7: .*<tuv> without its language; expected .* xml:lang"),
        (memory(JA, unit('<tuv xml:lang="de">\n</tuv>')), r"a.tmx:7: .*<tuv> without text; expected a <seg> in it"),
        (memory(JA, "<tu>\n</tu>"), r"a.tmx:6: .*<tu> without text; expected a <tuv> for each language"),
        (
            memory(unit('<tuv xml:lang="de"><seg>Ja</seg><seg>Nein</seg></tuv>')),
            r"a.tmx:5: .*a second <seg> in one <tuv>",
        ),
        (memory(JA, unit("<seg>Ja</seg>")), r"a.tmx:7: .*<seg> inside <tu>, expected inside <tuv>"),
        (memory(JA, variant("de", "Ja")), r"a.tmx:6: .*<tuv> inside <body>, expected inside <tu>"),
        (memory(JA, unit(JA)), r"a.tmx:7: .*<tu> inside <tu>, expected inside <body>"),
        (memory(unit(variant("de", "Ja <seg>nein</seg>"))), r"a.tmx:5: .*<seg> inside <seg>, expected inside <tuv>"),
    ],
)
def test_malformed_files_are_named_with_line_and_reason(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(FmallocError, match=message):
        read(tmp_path, text)


LAUGHS = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))


@pytest.mark.parametrize(
    ("before", "reference", "message"),
    [
        (f'<!DOCTYPE tmx [<!ENTITY l0 "ha">{LAUGHS}]>', "&l9;", r"a.tmx:1: .*it declares the entity 'l0'"),
        ('<!DOCTYPE tmx [<!ENTITY x SYSTEM "secret.txt">]>', "&x;", r"a.tmx:1: .*it declares the entity 'x'"),
        ('<!DOCTYPE tmx [<!ENTITY % x SYSTEM "secret.dtd"> %x;]>', "&y;", r"a.tmx:1: .*it declares the entity 'x'"),
        ('<!DOCTYPE tmx SYSTEM "secret.dtd">', "&x;", r"a.tmx:7: .*unknown entity &x;"),
        ("", "&nbsp;", r"a.tmx:7: malformed TMX: undefined entity"),
    ],
)
def test_entities_are_refused(tmp_path: Path, before: str, reference: str, message: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "secret.dtd").write_text("<!ENTITY x 'secret'><!ENTITY y 'secret'>")
    with pytest.raises(FmallocError, match=message):
        read(tmp_path, memory(JA, unit(variant("de", reference), variant("en", "x")), before=before))


def test_a_document_type_that_is_elsewhere_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tmx14.dtd")  # reading it would wait for ever
    assert read(tmp_path, memory(JA, before='<!DOCTYPE tmx SYSTEM "tmx14.dtd">')) == [Pair("Ja", "Yes")]


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmalloc.corpus.formats.tmx._PIECE", 1 << 14)
    path = tmp_path / "a.tmx"
    units = (unit(variant("de", f"Satz {i} " * 20), variant("en", f"sentence {i} " * 20)) for i in range(3000))
    path.write_text(memory(*units))
    tracemalloc.start()
    count = sum(1 for _ in tmx_rows(path, DE_EN, Tally()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3000
    assert peak < path.stat().st_size / 5
