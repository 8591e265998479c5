"""Files of every format as small literals, and translations of their texts that are told from them at a glance."""

import re
from collections.abc import Callable
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

from fmalloc_runtime.files.document import Document, Source, Wanted
from fmalloc_runtime.files.formats import format_of
from fmalloc_shared.languages import LanguagePair

WANTED = Wanted(LanguagePair("de", "en"))

XLIFF = """<?xml version="1.0" encoding="UTF-8"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
  <file source-language="de-DE" target-language='en' original="ä &amp; ö.txt" datatype="plaintext">
    <header><note>Das bleibt.</note></header>
    <body>
      <!-- auch das -->
      <trans-unit id="1"><source>Hallo <g id="1">liebe</g> Welt &amp; <x id="2"/> alle</source></trans-unit>
      <trans-unit id="2">
        <source>Neu <bpt id="1">&lt;b></bpt>hier<ept id="1">&lt;/b></ept></source>
        <target state="new"/>
        <note>ein Hinweis</note>
      </trans-unit>
      <trans-unit id="3"><source>fertig</source><target state="translated">done</target></trans-unit>
      <trans-unit id="4" translate="no"><source>nie</source></trans-unit>
      <trans-unit id="5" approved="yes"><source>nie</source><target></target></trans-unit>
      <trans-unit id="6"><source>zwei</source>
        <seg-source><mrk mtype="seg" mid="0">Eins.</mrk> <mrk mtype="seg" mid="1">Zwei.</mrk></seg-source>
        <target></target></trans-unit>
    </body>
  </file>
</xliff>
"""
XLIFF_2 = """<xliff version="2.1" srcLang="de" xmlns="urn:oasis:names:tc:xliff:document:2.0">
 <file id="f"><unit id="u">
  <notes><note>bleibt</note></notes>
  <originalData><data id="d">&lt;br/></data></originalData>
  <segment id="s" state="initial">
   <source>Hallo <pc id="1">Welt</pc> <sc id="2"/>und<ec startRef="2"/> <ph id="3"
     dataRef="d"/> <mrk id="m" translate="no">ACME</mrk></source>
  </segment>
  <segment state="final"><source>fertig</source><target>done</target></segment>
 </unit><unit id="v" translate="no"><segment><source>nie</source></segment></unit></file></xliff>
"""
TMX = """<?xml version="1.0"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="de" segtype="sentence"/><body>
  <tu tuid="1">
    <note>bleibt</note>
    <tuv xml:lang="DE-de">
      <seg>Hallo <bpt i="1">b</bpt>Welt<ept i="1">e</ept></seg>
    </tuv>
  </tu>
  <tu><tuv xml:lang="de"><seg>da</seg></tuv><tuv xml:lang="en-GB"><seg>there</seg></tuv></tu>
  <tu><tuv xml:lang="de"><seg>leer</seg></tuv><tuv xml:lang="en-GB"><seg/></tuv></tu>
  <tu><tuv xml:lang="fr"><seg>jamais</seg></tuv></tu>
</body></tmx>
"""
PO = r"""# Kommentar
msgid ""
msgstr ""
"Language: en_GB\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

#. Hinweis
#: a.c:1
#, c-format
msgid "%d <b>Datei</b>"
msgid_plural "%d <b>Dateien</b>"
msgstr[0] ""
msgstr[1] ""

msgctxt "Menü"
msgid ""
"Eins \"und\"\n"
"zwei"
msgstr ""

#, fuzzy
#| msgid "vorher"
msgid "Ungefähr"
msgstr "about"

#~ msgid "alt"
#~ msgstr ""
"""
SRT = (
    "1\r\n00:00:01,000 --> 00:00:02,000\r\n<i>Hallo du\r\ndort hinten</i>\r\n\r\n"
    "2\r\n00:00:03,000 --> 00:00:04,000 X1:1\r\n- Ja\r\n- {\\an8}Nein\r\n"
)
VTT = """WEBVTT - Titel

STYLE
::cue { color: red }

NOTE
bleibt

eins
00:01.000 --> 00:02.000 align:start
<v Bob>Er &amp; sie
gehen fort

00:03.000 --> 00:04.000
<c.gelb>Ende</c> <00:03.500>jetzt
"""
HTML = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>Titel</title><script>var a = "nie";</script></head>
<body><p class="x">Hallo <b>liebe</b> Welt&nbsp;!</p><!-- nie --><pre>so  bleibt</pre></body></html>
"""
MARKDOWN = """---
title: bleibt
---
# Titel *wichtig* #

> Ein Absatz mit [Verweis](http://a.b "t") und `code`
> über zwei Zeilen, **fett** und 2 * 3.

- [ ] Aufgabe  
  weiter
- <b>x</b> &amp; ![bild](x.png) [ref]

```
bleibt
```

| A | b \\| c |
|---|---|
| eins | zwei |

[ref]: http://x
"""
TEXT = "\ufeffErste Zeile.\r\n\r\n  Zweite %s.\nletzte"
JSON = '{"a": "Hallo \\"du\\"",\n "b": [1, "\\u00e4h", {"c":"x <b>y</b>"}], "d": null, "@a": {"description": "nie"}}\n'
ANDROID = """<resources xmlns:xliff="urn:oasis:names:tc:xliff:document:1.2">
    <string name="a">Geht\\'s &lt;b>gut&lt;/b>?\\n <b>ja</b> <xliff:g id="n">%1$s</xliff:g></string>
    <string name="b" translatable="false">nie</string>
    <string name="c"><![CDATA[<i>hm</i> ja]]></string>
    <string name="d">@string/a</string>
    <plurals name="p"><item quantity="one">eins</item><item quantity="other">%d \\@ viele</item></plurals>
    <color name="x">nie</color>
</resources>
"""
APPLE = '\ufeff/* bleibt */\n"k" = "Hallo \\"Welt\\"\\n%@";\nschluessel = "b"; // auch\n'
STRINGSDICT = """<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict><key>a</key><dict>
  <key>NSStringLocalizedFormatKey</key><string>%#@n@ da</string>
  <key>n</key><dict>
    <key>NSStringFormatSpecTypeKey</key><string>NSStringPluralRuleType</string>
    <key>one</key><string>%d Datei &amp; mehr</string><key>other</key><string>%d Dateien</string>
  </dict></dict></dict></plist>
"""
_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
DOCUMENT_XML = f"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<w:document xmlns:w="{_W}" xmlns:r="r"><w:body>
<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Titel</w:t></w:r></w:p>
<w:p><w:bookmarkStart w:id="0" w:name="x"/><w:r><w:t xml:space="preserve">Hallo </w:t></w:r><w:proofErr
 w:type="spellStart"/><w:r><w:rPr><w:b/></w:rPr><w:t>liebe</w:t></w:r><w:r>
 <w:t xml:space="preserve"> Welt</w:t></w:r><w:hyperlink
 r:id="rId1"><w:r><w:t>hier</w:t></w:r></w:hyperlink>
 <w:r><w:tab/><w:t>Ende</w:t></w:r><w:bookmarkEnd w:id="0"/></w:p>
<w:p><w:r><w:t xml:space="preserve">Seite </w:t></w:r><w:r>
 <w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>PAGE</w:instrText></w:r>
 <w:r><w:fldChar w:fldCharType="end"/></w:r><w:del w:id="1"><w:r><w:delText>weg</w:delText></w:r></w:del></w:p>
<w:p><w:r><w:t>Bild</w:t><w:pict><w:txbxContent><w:p><w:r><w:t>Kasten</w:t></w:r></w:p></w:txbxContent></w:pict></w:r></w:p>
</w:body></w:document>"""
_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
    'wordprocessingml.document.main+xml"/></Types>'
)


def docx(document: str = DOCUMENT_XML, types: str = _TYPES, **more: bytes) -> bytes:
    """A DOCX; `more`: parts by their names, with `__` for each slash and `_dot_` for each point."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", types)
        archive.writestr("word/document.xml", document)
        for name, content in more.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return buffer.getvalue()


SAMPLES: dict[str, bytes] = {
    "a.xliff": XLIFF.encode(),
    "b.xlf": XLIFF_2.encode(),
    "a.tmx": TMX.encode(),
    "a.po": PO.encode(),
    "a.srt": SRT.encode(),
    "a.vtt": VTT.encode(),
    "a.html": HTML.encode(),
    "a.md": MARKDOWN.encode(),
    "a.txt": TEXT.encode(),
    "a.json": JSON.encode(),
    "strings.xml": ANDROID.encode(),
    "a.strings": APPLE.encode("utf-16-le"),
    "a.stringsdict": STRINGSDICT.encode(),
    "a.docx": docx(),
}


def read(name: str, data: bytes | str, wanted: Wanted = WANTED) -> Document:
    """A file by its name."""
    content = data.encode() if isinstance(data, str) else data
    return format_of(name).read(content, name, wanted)


_KEPT = re.compile(r"<[^<>]*>|%\w+|%#@\w+@|%1\$s|%@|&\w+;|https?://\S+|\{\S+\}")


def loud(source: Source) -> str:
    """Words outside markup and placeholders, in upper case."""
    pieces, at = [], 0
    for match in _KEPT.finditer(source.text):
        pieces += [upper(source.text[at : match.start()]), match[0]]
        at = match.end()
    return "".join([*pieces, upper(source.text[at:])])


def upper(text: str) -> str:
    """Text in upper case, each character one."""
    return "".join(character.upper() if len(character.upper()) == 1 else character for character in text)


def translated(name: str, data: bytes | str, say: Callable[[Source], str] = loud, wanted: Wanted = WANTED) -> bytes:
    """A file with translations in it."""
    document = read(name, data, wanted)
    return document.written({source: say(source) for source in document.sources()})
