"""Strings as software and web pages have them, through a model whose answers are known."""

import pytest

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.pipeline import plain_lines, work_on
from fmalloc_runtime.text.translation import SourceBatch, TextOptions, advance
from tests.support.text_answers import translate

HTML, XML = TextOptions(format="html"), TextOptions(format="xml")
FORMATS = (TextOptions(), HTML, XML)


@pytest.fixture
def model(well_read: Translator) -> Translator:
    return well_read


def test_everything_between_sentences_stays(model: Translator) -> None:
    text = "  Guten Tag.  Wie geht es?\r\n\r\n\tEnde\u00a0\r100 %\n"
    answers = {"Guten Tag.": "Hello.", "Wie geht es?": "How are you?", "Ende": "End"}
    translation = translate(text, answers, model)
    assert translation.text == "  Hello.  How are you?\r\n\r\n\tEnd\u00a0\r100 %\n"
    assert [sentence.source for sentence in translation.sentences] == list(answers)
    assert [sentence.translation for sentence in translation.sentences] == list(answers.values())


def test_splitting_only_as_asked(model: Translator) -> None:
    text = "Ja. Nein.\nDoch."
    whole = {"Ja. Nein.": "Yes. No.", "Doch.": "But."}
    assert translate(text, whole, model, TextOptions(splitting="lines")).text == "Yes. No.\nBut."
    together = {"Ja. Nein. Doch.": "Yes. No. But."}
    assert translate(text, together, model, TextOptions(splitting="none")).text == "Yes. No. But."


@pytest.mark.parametrize(
    ("text", "options"),
    [
        *((text, options) for text in ("", " \n\t", "12:30", "%s: %d", "http://a.de/b", "…") for options in FORMATS),
        *((text, options) for text in ("<br>", "<x>5</x>", "&nbsp;", "<!-- Ja -->") for options in (HTML, XML)),
    ],
)
def test_what_has_nothing_to_translate_is_not_translated(text: str, options: TextOptions, model: Translator) -> None:
    translation = translate(text, {}, model, options)
    assert translation.text == text and translation.sentences == ()


@pytest.mark.parametrize(
    ("own", "stated", "beam"),
    [
        (2, TranslationOptions(), 2),
        (2, TranslationOptions(4), 4),
        (2, TranslationOptions(hypotheses=3), 3),
        (None, TranslationOptions(), 4),
        (None, TranslationOptions(hypotheses=6), 6),
    ],
)
def test_a_models_own_beam_holds_where_none_is_stated(
    own: int | None, stated: TranslationOptions, beam: int, model: Translator
) -> None:
    manifest = model.bundle.manifest.model_copy(update={"beam_size": own})
    searched = Translator(Bundle(model.bundle.path, manifest), model.tokenizer, model.engine)
    step = advance(work_on(["Guten Tag."], TextOptions(search=stated), searched))
    assert isinstance(step, SourceBatch) and step.options.beam == beam


def test_alternatives_are_as_many_as_asked(model: Translator) -> None:
    options = TextOptions(search=TranslationOptions(hypotheses=3))
    answers = {"Ja.": [("Yes.", None), ("Yeah.", None), ("Yep.", None)]}
    translation = translate("Ja.\n1", answers, model, options)
    assert (translation.text, translation.alternatives) == ("Yes.\n1", ("Yeah.\n1", "Yep.\n1"))
    assert translate("1", {}, model, options).alternatives == ("1", "1")


def test_what_the_model_says_nothing_about_stays(model: Translator) -> None:
    assert translate("Hm. Ja.", {"Hm.": "", "Ja.": "Yes."}, model).text == "Hm. Yes."


def test_equal_sentences_are_asked_once(model: Translator) -> None:
    batches: list[SourceBatch] = []
    assert translate("Ja.\nJa.\nJa.", {"Ja.": "Yes."}, model, batches=batches).text == "Yes.\nYes.\nYes."
    assert [len(batch.sources) for batch in batches] == [1]


def test_plain_text_asks_for_no_attention(model: Translator) -> None:
    batches: list[SourceBatch] = []
    translate("Die Datei %s fehlt.", {"Die Datei %s fehlt.": "The file %s is missing."}, model, batches=batches)
    translate("<b>Ja</b>", {"Ja": "Yes"}, model, HTML, batches)
    assert [batch.options.attention for batch in batches] == [False, False]


def test_of_many_sentences_those_with_numbers_alone_ask_for_attention(model: Translator) -> None:
    lines = [f"Datei {number}" for number in range(20)]
    words = [f"Maus {letter}" for letter in "abcdefghijklmnopqrst"]
    for count, expected in ((20, [(20, False), (20, True)]), (3, [(23, True)])):
        batches: list[SourceBatch] = []
        text = "\n".join([*lines, *words[:count]])
        assert translate(text, _Echo(), model, batches=batches).text == text
        assert [(len(batch.sources), batch.options.attention) for batch in batches] == expected


def test_a_lost_placeholder_goes_where_the_words_around_it_went(model: Translator) -> None:
    batches: list[SourceBatch] = []
    answers = {
        "Die Datei %s konnte nicht geladen werden.": "The file could not be loaded.",
        "Die Datei konnte nicht geladen werden.": ("The file could not be loaded.", (0, 1, 2, 3, 5, 4, 6)),
    }
    translation = translate("Die Datei %s konnte nicht geladen werden.", answers, model, batches=batches)
    assert translation.text == "The file %s could not be loaded."
    assert [batch.options.attention for batch in batches] == [False, True]
    assert translation.sentences[0].translation == translation.text


def test_plural_forms_of_a_message_catalogue(model: Translator) -> None:
    answers = {
        "%1$d Datei in %2$s gelöscht": ("Deleted %1$d file in %2$s", None),
        "%1$d Dateien in %2$s gelöscht": ("Files deleted", None),
        "Dateien in gelöscht": ("Deleted files in", (2, 0, 1)),
    }
    assert translate("%1$d Datei in %2$s gelöscht", answers, model).text == "Deleted %1$d file in %2$s"
    assert translate("%1$d Dateien in %2$s gelöscht", answers, model).text == "Deleted %1$d files in %2$s"


@pytest.mark.parametrize(
    ("source", "first", "bare", "second", "expected"),
    [
        ("Gehe zu {url} oder {url}", "Go to {url}", "Gehe zu oder", "Go to or", "Go to {url} or {url}"),
        ("Fehler: %s", "Error", "Fehler:", "Error:", "Error: %s"),
        ("%s wurde beendet.", "It was %s by %s.", "wurde beendet.", "was ended.", "%s was ended."),
        ("Sende an a.b@c.de.", "Send to a.b@c.com.", "Sende an.", "Send to.", "Send to a.b@c.de."),
        ("Ende (%d)", "End (%s)", "Ende ()", "End ()", "End (%d)"),
    ],
)
def test_items_are_put_back(source: str, first: str, bare: str, second: str, expected: str, model: Translator) -> None:
    assert translate(source, {source: first, bare: second}, model).text == expected


@pytest.mark.parametrize(
    ("source", "answer"),
    [("Es kostet 1.000,50 Euro", "It costs 1,000.50 euros"), ("10 000 Euro", "10,000 euros"), ("Am 3. Mai", "May 3rd")],
)
def test_numbers_may_be_written_as_the_language_does(source: str, answer: str, model: Translator) -> None:
    batches: list[SourceBatch] = []
    assert translate(source, {source: answer}, model, batches=batches).text == answer
    assert len(batches) == 1


@pytest.mark.parametrize(
    ("source", "answer", "links", "expected"),
    [
        ("Größe: 1.000,50 Euro", "Size: euros", (0, 1, 3), "Size: 1,000.50 euros"),
        ("Artikel 44 der Verordnung", "Article 4 of it", (0, 1, 2, 3), "Article 44 of it"),
        ("Verordnung Nr. 96/350 gilt", "Regulation No 96/3350 is", (0, 1, 3, 4, 5, 6), "Regulation No 96/350 is"),
        ("Am 5. Dezember 2003 war", "On 5 December it", (0, 1, 3, 5), "On 5 December 2003 it"),
        ("Am 5. Dezember 2003 war", "On 5 November 2003 it", (0, 1, 3, 4, 5), "On 5 December 2003 it"),
        ("Am 5. Dezember 2003 war es", "On it was", (0, 6, 5), "On 5 December 2003 it was"),
        ("Rund 29,9 % sind da", "Around are here", (0, 3, 4), "Around 29.9% are here"),
        ("Abfälle (5) sind da", "Waste is here", (0, 4, 5), "Waste (5) is here"),
        ("Der Server „5“ ist neu", "The server is new", (0, 1, 5, 6), "The server „5“ is new"),
        ("Die Datei 7 in {0} da", "The file{0} there", (0, 1, 4, 5, 6, 7), "The file 7 {0} there"),
    ],
)
def test_missing_numbers_are_put_back(
    source: str, answer: str, links: tuple[int, ...], expected: str, model: Translator
) -> None:
    batches: list[SourceBatch] = []
    translation = translate(source, {source: (answer, links)}, model, batches=batches)
    assert translation.text == expected
    assert [bool(batch.targets) for batch in batches] == [False, True]
    (sentence,) = translation.sentences
    assert (sentence.translation, sentence.numbers, sentence.missing) == (expected, "restored", ())


def test_numbers_that_make_a_sentence_unlikely_stay_away(model: Translator) -> None:
    source, answer = "Am 5. Mai 2003 waren 7 hier", "They were here"
    answers = {source: (answer, (5, 5, 6))}
    translation = translate(source, answers, model, scores=[-9.0])
    (sentence,) = translation.sentences
    assert translation.text == answer
    assert (sentence.numbers, sentence.missing) == ("missing", ("5. Mai 2003", "7"))
    assert translate(source, answers, model, TextOptions(protect=False)).sentences[0].numbers is None


def test_numbers_go_with_their_words_and_tags_around_them(model: Translator) -> None:
    answers = {"Siehe Nr. 104/2000 dort": ("See No there", (0, 1, 6))}
    assert translate("Siehe <b>Nr. 104/2000</b> dort", answers, model, HTML).text == "See <b>No 104/2000</b> there"


def test_nothing_is_placed_inside_a_date_or_reference(model: Translator) -> None:
    answers = {"Am 5. Dezember 2003 um": ("On 5 December 2003 at", (0, 3, 1, 4, 5))}
    source = "Am 5. {0} Dezember 2003 um"
    assert "5 December 2003" in translate(source, answers | {source: ""}, model).text


def test_an_icu_argument_stays_whole(model: Translator) -> None:
    argument = "{n, plural, one {# Datei. Neu} other {# Dateien. Neu}}"
    answers = {f"Es gibt {argument} hier.": "There are files here.", "Es gibt hier.": ("There is here.", (0, 1, 2, 3))}
    assert translate(f"Es gibt {argument} hier.", answers, model).text == f"There is {argument} here."
    assert translate(argument, {}, model).text == argument


def test_unprotected_items_are_the_models(model: Translator) -> None:
    batches: list[SourceBatch] = []
    answers = {"Die Datei %s": "The file"}
    assert translate("Die Datei %s", answers, model, TextOptions(protect=False), batches).text == "The file"
    assert len(batches) == 1


@pytest.mark.parametrize(
    ("source", "bare", "answer", "links", "expected"),
    [
        (
            'Die Karte "%{todo}" im Netz',
            'Die Karte "" im Netz',
            "The card in the net",
            (0, 1, 4, 4, 5),
            "card %{todo} in",
        ),
        ('Die Karte "%s" im Netz', 'Die Karte "" im Netz', 'The card "" in it', (0, 1, 2, 3, 4, 5), 'card "%s" in'),
        ('Sage "%s" zu (%d)', 'Sage "" zu ()', 'Say " " to ()', (0, 1, 2, 3, 4, 5), 'Say "%s" to (%d)'),
        ("Den Speicher (:name) leeren", "Den Speicher () leeren", "Clear memory", (4, 1), "memory :name"),
        ("Der Server {0}, der neu ist", "Der Server, der neu ist", "The server, new", (0, 1, 2, 4), "server {0}, new"),
        ("{0}: Der Server ist neu", ": Der Server ist neu", "The server is new", (1, 2, 3, 4), "{0} The server"),
        ("Datei%s ist neu", "Datei ist neu", "Files are new", (0, 1, 2), "Files%s are"),
    ],
)
def test_no_word_touches_an_item_that_it_did_not_touch(
    source: str, bare: str, answer: str, links: tuple[int, ...], expected: str, model: Translator
) -> None:
    assert expected in translate(source, {source: "", bare: (answer, links)}, model).text


@pytest.mark.parametrize(
    ("source", "answer", "expected"),
    [
        ("Die Karte {0} im Netz", "The card{0}in it", "The card {0} in it"),
        ("Die Karte „{0}“ im Netz", "The card“{0}in it", "The card“{0} in it"),
        ("Die Karte{0} im Netz", "The card{0} in it", "The card{0} in it"),
        ("Von a@b.de, sofort", "Froma@b.de, now", "From a@b.de, now"),
    ],
)
def test_a_model_that_joins_words_and_items_is_corrected(
    source: str, answer: str, expected: str, model: Translator
) -> None:
    batches: list[SourceBatch] = []
    options = TextOptions(search=TranslationOptions(attention=True))
    assert translate(source, {source: answer}, model, batches=batches).text == expected
    assert len(batches) == 1
    (sentence,) = translate(source, {source: answer}, model, options).sentences
    assert sentence.alignment and sentence.translation == expected


def test_braces_with_their_own_beginning_may_have_elements_in_them(model: Translator) -> None:
    answers = {"Neu {{ a &foo; b }} da": "New", "Neu da": ("New here", (0, 1))}
    assert translate("Neu {{ a &foo; b }} da", answers, model, HTML).text == "New {{ a &foo; b }} here"


def test_alternatives_keep_items_too(model: Translator) -> None:
    options = TextOptions(search=TranslationOptions(hypotheses=2))
    answers = {
        "Datei %s": [("File %s", None), ("The file", None)],
        "Datei": [("File", None), ("A file", None)],
    }
    translation = translate("Datei %s", answers, model, options)
    assert (translation.text, translation.alternatives) == ("File %s", ("A file %s",))


def test_a_placeholder_from_nowhere_is_removed(model: Translator) -> None:
    assert translate("Das ist alles", {"Das ist alles": "That is %s all"}, model).text == "That is all"


def test_tags_follow_the_words_that_they_were_around(model: Translator) -> None:
    text = "<p>Ich habe <b>das <i>rote</i> Buch</b> gelesen.</p>"
    answers = {"Ich habe das rote Buch gelesen.": ("I have read the red book.", (0, 1, 5, 2, 3, 4, 6))}
    assert translate(text, answers, model, HTML).text == "<p>I have read <b>the <i>red</i> book</b>.</p>"


def test_tags_change_places_with_their_words(model: Translator) -> None:
    text = "Das <a href=\"x?a>b&amp;c\">neue Haus</a> <em class='>'>gestern</em> sah er"
    answers = {"Das neue Haus gestern sah er": ("Yesterday he saw the new house", (3, 5, 4, 0, 1, 2))}
    expected = "<em class='>'>Yesterday</em> he saw the <a href=\"x?a>b&amp;c\">new house</a>"
    assert translate(text, answers, model, HTML).text == expected


def test_placeholders_of_translation_tools(model: Translator) -> None:
    """As Weblate and CAT tools send them."""
    text = 'Sie haben <x id="1"></x> neue Nachrichten von <x id="2"></x>.'
    answers = {"Sie haben neue Nachrichten von.": ("You have new messages from.", (0, 1, 2, 3, 4, 5))}
    expected = 'You have <x id="1"></x> new messages from <x id="2"></x>.'
    options = TextOptions(format="xml", ignore_tags=frozenset({"x"}))
    for wanted in (XML, options, HTML):
        assert translate(text, answers, model, wanted).text == expected
    single = text.replace("></x>", "/>")
    assert translate(single, answers, model, XML).text == expected.replace("></x>", "/>")


def test_kept_elements_are_as_they_were(model: Translator) -> None:
    options = TextOptions(format="xml", ignore_tags=frozenset({"name"}))
    kept = {"Starte Firefox neu": "Restart Firefox"}
    assert translate("Starte <name>Firefox</name> neu", kept, model, options).text == "Restart <name>Firefox</name>"
    lost = {"Starte das Programm neu": "Restart it", "Starte neu": ("Restart", (0,))}
    translated = translate("Starte <name>das Programm</name> neu", lost, model, options).text
    assert translated == "Restart <name>das Programm</name>"


@pytest.mark.parametrize(
    "kept",
    ["<code>ls -l</code>", '<span translate="no">Neu</span>', '<b class="a notranslate">Neu</b>', "<var>x y</var>"],
)
def test_elements_that_say_so_are_kept_in_html(kept: str, model: Translator) -> None:
    shown = kept.split(">")[1].split("<")[0]
    answers = {f"Der Befehl {shown} fehlt": f"Missing: {shown}"}
    assert translate(f"Der Befehl {kept} fehlt", answers, model, HTML).text == f"Missing: {kept}"


def test_a_page(model: Translator) -> None:
    text = (
        "<!DOCTYPE html>\n<html><head><title>Ja</title><style>p > b {}</style></head>\n<body>\n"
        "<!-- Ja. -->\n<ul>\n  <li>Ja</li>\n  <li>Nein<br>Ja\n</ul><table><tr><td>Nein</td><td> 5 </td></tr></table>\n"
        "<pre>Ja\n  Nein</pre><textarea>Ja</textarea><script>if (Ja < Nein) {}</script>"
        '<div translate="no"><p>Ja</p></div>\n</body></html>\n'
    )
    translated = translate(text, {"Ja": "Yes", "Nein": "No"}, model, HTML).text
    assert translated == (
        "<!DOCTYPE html>\n<html><head><title>Yes</title><style>p > b {}</style></head>\n<body>\n"
        "<!-- Ja. -->\n<ul>\n  <li>Yes</li>\n  <li>No<br>Yes\n</ul><table><tr><td>No</td><td> 5 </td></tr></table>\n"
        "<pre>Yes\n  No</pre><textarea>Ja</textarea><script>if (Ja < Nein) {}</script>"
        '<div translate="no"><p>Ja</p></div>\n</body></html>\n'
    )


def test_entities_are_read_and_written(model: Translator) -> None:
    answers = {"R & D < 5 Euro „gut“": "R & D < 5 euros <good>"}
    translated = translate("R &amp; D &lt; 5&nbsp;Euro &bdquo;gut&ldquo;", answers, model, HTML).text
    assert translated == "R &amp; D &lt; 5 euros &lt;good&gt;"
    answers = {"A & B &foo; C": "X & Y &foo; Z"}
    assert translate("A &amp; B &foo; C", answers, model, XML).text == "X &amp; Y &foo; Z"


def test_a_tag_over_two_sentences_opens_in_one_and_closes_in_the_other(model: Translator) -> None:
    answers = {"Das ist gut.": ("This is good.", (0, 1, 2, 3)), "Das auch nicht.": ("Nor that.", (2, 0, 3))}
    translated = translate("Das ist <b>gut. Das</b> auch nicht.", answers, model, HTML).text
    assert translated == "This is <b>good. Nor that</b>."


@pytest.mark.parametrize(
    "text",
    [
        "Ja <b>Ja",
        "Ja</b> Ja",
        "<b><i>Ja</b></i>",
        "Ja < Ja",
        "Ja <!-- Ja",
        "<a href='Ja>Ja",
        "Ja & Ja",
        "</",
        "<![CDATA[Ja",
    ],
)
def test_broken_markup_is_taken_as_it_is(text: str, model: Translator) -> None:
    answers = {"Ja": "Ja", "Ja Ja": "Ja Ja", "Ja < Ja": "Ja < Ja", "Ja <!-- Ja": "Ja <!-- Ja", "Ja & Ja": "Ja & Ja"}
    answers |= {"<a href='Ja>Ja": "<a href='Ja>Ja", "<![CDATA[Ja": "<![CDATA[Ja"}
    for options in (HTML, XML):
        translated = translate(text, answers, model, options).text
        assert translated.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text


def test_splitting_tags(model: Translator) -> None:
    text = "<seg>Ja <y/>Nein</seg>"
    apart = TextOptions(format="xml", splitting_tags=frozenset({"y"}))
    assert translate(text, {"Ja": "Yes", "Nein": "No"}, model, apart).text == "<seg>Yes <y/>No</seg>"
    together = TextOptions(format="html", non_splitting_tags=frozenset({"p"}))
    answers = {"Ja Nein": ("Yes no", (0, 1))}
    assert translate("<p>Ja</p> <p>Nein</p>", answers, model, together).text == "<p>Yes</p> <p>no</p>"


def test_elements_around_elements_split_in_xml(model: Translator) -> None:
    text = "<doc>\n <title>Ja</title>\n <par>Ja <b>Nein</b></par>\n</doc>"
    answers = {"Ja": "Yes", "Ja Nein": ("Yes no", (0, 1))}
    expected = "<doc>\n <title>Yes</title>\n <par>Yes <b>no</b></par>\n</doc>"
    assert translate(text, answers, model, XML).text == expected


def test_without_attention_tags_go_by_place(model: Translator) -> None:
    answers = {"Die rote Tür ist offen": "The red door is open"}
    assert translate("Die <b>rote</b> Tür ist offen", answers, model, HTML).text == "The <b>red</b> door is open"


def test_alignment_on_request(model: Translator) -> None:
    options = TextOptions(search=TranslationOptions(attention=True))
    (sentence,) = translate("Er sah Tom.", {"Er sah Tom.": ("Tom he saw.", (2, 0, 1, 3))}, model, options).sentences
    assert sentence.alignment is not None
    pairs = [(sentence.source[slice(*a)], sentence.translation[slice(*b)]) for a, b in sentence.alignment]
    assert pairs == [("Tom", "Tom"), ("Er", "he"), ("sah", "saw"), (".", ".")]


@pytest.mark.parametrize(
    "unit", ["Die Datei, die Maus, ", "Datei ", "Datei", "日本語", "é", "Datei%s", "<b>Datei</b> "]
)
def test_no_text_is_too_long(unit: str, model: Translator) -> None:
    """And nothing of it is left out: what the model reads, together, is the text."""
    text = unit * 60
    options = HTML if "<" in unit else TextOptions()
    work = work_on([text], options, model)
    batch = next(work)
    assert all(len(source) <= model.maximum_length for source in batch.sources)
    translation = translate(text, _Echo(), model, options)
    assert "".join(translation.text.split()) == "".join(text.split())


class _Echo(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return key


def test_plain_lines_are_without_markup() -> None:
    assert plain_lines(["Ja.\r\nNein.", ""], TextOptions()) == ["Ja.", "Nein.", ""]
    assert plain_lines(["<p>Ja <b>und</b>\n&amp; Nein</p><p>Gut</p>"], HTML) == ["Ja und & Nein", "Gut"]


@pytest.mark.parametrize("item", ["{name}", "a@b.de", "http://a.de/?b=c"])
@pytest.mark.parametrize("between", ["<b>Das</b>", "<i>Das</i> →"])
def test_nothing_is_placed_inside_an_item(item: str, between: str, model: Translator) -> None:
    answers = {f"Das {item} geht": f"{item} it goes"}
    assert item in translate(f"{between} {item} geht", answers, model, HTML).text


SPLIT = "<![CDATA[]]]]><![CDATA[>]]>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<a><![CDATA[Guten Tag.]]></a>", "<a><![CDATA[Good day.]]></a>"),
        ("<a>Guten Tag. <![CDATA[Guten Tag.]]></a>", "<a>Good day. <![CDATA[Good day.]]></a>"),
        ("<a><![CDATA[<b>Guten Tag.</b>]]></a>", "<a><![CDATA[<b>Good day.</b>]]></a>"),
        ("<a><![CDATA[Tom & Jerry < 5]]></a>", "<a><![CDATA[Tim & Jerry < 5]]></a>"),
        (
            "<a><![CDATA[Ende]]>\n<![CDATA[Ende]]></a>",
            "<a><![CDATA[]]]]><![CDATA[>]]>\n<![CDATA[]]]]><![CDATA[>]]></a>",
        ),
        ("<a><k><![CDATA[Guten Tag.]]></k></a>", "<a><k><![CDATA[Guten Tag.]]></k></a>"),
        ("<a><![CDATA[5]]><![CDATA[]]></a>", "<a><![CDATA[5]]><![CDATA[]]></a>"),
    ],
)
def test_cdata_of_xml_is_translated_and_stays_cdata(text: str, expected: str, well_read: Translator) -> None:
    answers = {
        "Guten Tag.": "Good day.",
        "Tom & Jerry < 5": "Tim & Jerry < 5",
        "Ende": "]]>",
        "<![CDATA[Guten": "<![CDATA[Guten",
    }
    options = TextOptions(format="xml", ignore_tags=frozenset({"k"}))
    assert translate(text, answers, well_read, options).text == expected
    assert plain_lines(["<a><![CDATA[<b>Ja</b>]]></a>"], options) == ["Ja"]
