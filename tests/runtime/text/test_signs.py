"""Signs that a vocabulary does not know, and characters that nobody sees."""

from time import process_time

import pytest

from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.pipeline import plain_lines
from fmalloc_runtime.text.signs import find_signs
from fmalloc_runtime.text.translation import Format, SourceBatch, TextOptions
from tests.support.text_answers import translate

HTML, XML = TextOptions(format="html"), TextOptions(format="xml")


def signs(text: str, model: Translator) -> list[str]:
    return [text[slice(*span)] for span in find_signs(text, model.tokenizer.knows, (), ())]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Größe: 5 %, „gut“ (ja) … é 日本語 Cafe\u0301", []),
        ("Ja 👩🏽‍💻 und 🇩🇪🇫🇷, 1️⃣ oder ❤️‍🔥.", ["👩🏽‍💻", "🇩🇪🇫🇷", "1️⃣", "❤️‍🔥"]),
        ("Datei→Ordner 12️⃣", ["→", "12️⃣"]),
        ("Москва и Łódź", ["Москва", "и", "Łódź"]),
        ("Das Łódźer Tor", ["Łódźer"]),
        ("東京Server京都", ["東京", "京都"]),
        ("a\ud800b →", ["→"]),
    ],
)
def test_what_the_vocabulary_lacks_is_found_in_whole_words_and_graphemes(
    text: str, found: list[str], well_read: Translator
) -> None:
    assert signs(text, well_read) == found


def test_a_sign_neither_crosses_a_tag_nor_touches_an_item(well_read: Translator) -> None:
    text = "→→ {→} →"
    assert find_signs(text, well_read.tokenizer.knows, [(3, 6)], {1}) == [(0, 1), (1, 2), (7, 8)]


@pytest.mark.parametrize(
    ("source", "read", "answer", "expected"),
    [
        ("😀 Das ist gut.", "Das ist gut.", ("This is good.", (0, 1, 2, 3)), "😀 This is good."),
        ("Das 😀 ist gut.", "Das ist gut.", ("This is good.", (0, 1, 2, 3)), "This 😀 is good."),
        ("Das ist gut 😀.", "Das ist gut.", ("This is good.", (0, 1, 2, 3)), "This is good 😀."),
        ("Das ist gut. 😀", "Das ist gut.", ("This is good.", (0, 1, 2, 3)), "This is good. 😀"),
        ("Er fuhr → Москва", "Er fuhr", ("He drove", (0, 1)), "He drove → Москва"),
        ("Das kostet 5 €.", "Das kostet 5.", ("That costs 5.", (0, 1, 2, 3)), "That costs 5 €."),
    ],
)
def test_signs_are_carried_over(
    source: str, read: str, answer: tuple[str, tuple[int, ...]], expected: str, well_read: Translator
) -> None:
    batches: list[SourceBatch] = []
    assert translate(source, {read: answer}, well_read, batches=batches).text == expected
    assert len(batches) == 1


def test_signs_follow_their_words_in_markup(well_read: Translator) -> None:
    answers = {"Das rote Auto sah er": ("He saw the red car", (4, 3, 0, 1, 2))}
    text = "<p>Das <b>rote &#128663; Auto</b> sah er</p>"
    assert translate(text, answers, well_read, HTML).text == "<p>He saw the <b>red &#128663; car</b></p>"


def test_signs_that_the_model_writes_by_itself_come_out_once(well_read: Translator) -> None:
    answers = {"Von nach": ("From → to →", (0, 0, 1, 1))}
    assert translate("Von → nach", answers, well_read).text == "From → to"
    answers = {"Zug nach": ("Train to Moskau Ły", (0, 1, 1, 1))}
    assert translate("Zug nach Ł", answers, well_read).text == "Train to Moskau Ły Ł"


def test_unprotected_signs_are_the_models(well_read: Translator) -> None:
    answers = {"Das 😀 ist gut.": "This is good."}
    assert translate("Das 😀 ist gut.", answers, well_read, TextOptions(protect=False)).text == "This is good."


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text", "Der Ser\u00adver \ufeffist\u200b ge\u200csperrt.\u2060"),
        ("html", "Der Ser&shy;ver &#8203;ist ge&#173;sperrt."),
        ("xml", "Der Ser&shy;ver ist ge&#173;sperrt.\u00ad"),
        ("xml", "Der Ser&zwnj;ver ist ge\x93sperrt."),
    ],
)
def test_invisible_characters_are_not_read(kind: Format, text: str, well_read: Translator) -> None:
    options = TextOptions(format=kind)
    answers = {"Der Server ist gesperrt.": "The server is locked."}
    translation = translate(text, answers, well_read, options)
    assert translation.text.rstrip("\u00ad\u2060") == "The server is locked."
    assert translation.sentences[0].source == "Der Server ist gesperrt."
    assert plain_lines([text], options) == ["Der Server ist gesperrt."]


@pytest.mark.parametrize(
    ("options", "item"),
    [
        (TextOptions(), "\u2068{name}\u2069"),
        (TextOptions(), "\u202a%s\u202c"),
        (TextOptions(), "\u2067\u2068{name}\u2069\u2069"),
        (HTML, "&#x2068;{name}&#x2069;"),
        (HTML, "&#x2068;<code>ls</code>&#x2069;"),
        (XML, "\u2068{name}\u2069"),
    ],
)
def test_a_placeholder_keeps_its_direction(options: TextOptions, item: str, well_read: Translator) -> None:
    shown = "ls" if "ls" in item else "%s" if "%s" in item else "{name}"
    read = {f"Hallo {shown}!": f"Hello {shown}!"}
    assert translate(f"Hallo {item}!", read, well_read, options).text == f"Hello {item}!"
    lost = {f"Hallo {shown}!": "Hello!", "Hallo!": "Hello!"}
    assert translate(f"Hallo {item}!", lost, well_read, options).text == f"Hello {item}!"


def test_direction_of_words_and_of_tags_is_left_out(well_read: Translator) -> None:
    answers = {"Hallo Welt!": "Hello world!", "Hallo!": "Hello!"}
    assert translate("Hallo \u2068Welt\u2069!", answers, well_read).text == "Hello world!"
    assert translate("Hallo \u2068<b>→</b>\u2069!", answers, well_read, HTML).text == "Hello <b>→</b>!"


def test_what_is_not_translated_keeps_its_invisible_characters(well_read: Translator) -> None:
    text = "\ufeff12\u00ad3\n→\u200b Москва \u2068{name}\u2069"
    assert translate(text, {}, well_read).text == text


@pytest.mark.parametrize("unit", ["Ja → ", "Ж{} ", "Ja\u00ad\u200b", "👩‍💻", "Ja \u2068{}\u2069 "])
def test_time_is_linear(unit: str, well_read: Translator) -> None:
    class Fixed(dict[str, str]):
        def __missing__(self, key: str) -> str:
            return "Ja."

    def seconds(count: int) -> float:
        text = "".join(unit.replace("{}", str(number)) for number in range(count)) + "Ja."
        begin = process_time()
        translate(text, Fixed(), well_read)
        return process_time() - begin

    seconds(100)
    assert seconds(4000) < 12 * seconds(800) + 1
