"""Terms found in texts, and kept in translations by a model whose answers are known."""

import re
import time
from pathlib import Path

import pytest

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.terms import Entry, Inflection, Terms
from fmalloc_runtime.text.translation import SourceBatch, TextOptions
from fmalloc_shared.annotations import Markers
from tests.support.bundles import write_bundle
from tests.support.text_answers import translate


def terms(*pairs: tuple[str, str], source: str = "de", target: str = "en") -> Terms:
    return Terms((Entry(*pair) for pair in pairs), source, target)


def found(text: str, *pairs: tuple[str, str], source: str = "de") -> list[tuple[str, str]]:
    matches = terms(*pairs, source=source).find(text)
    return [(text[match.begin : match.end], match.target) for match in matches]


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("de", "Vertrag", "Verträge"),
        ("de", "Fenster", "Fenstern"),
        ("de", "Haus", "Häusern"),
        ("de", "FRIST", "Fristen"),
        ("en", "policy", "policies"),
        ("en", "window", "Windows"),
        ("fr", "travaux", "travaux"),
    ],
)
def test_forms_of_a_word_are_one(language: str, one: str, other: str) -> None:
    assert Inflection(language).are_one(one, other) and Inflection(language).are_one(other, one)


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("en", "university", "universe"),
        ("en", "organ", "organization"),
        ("de", "Vertrag", "vertraglich"),
        ("xx", "a", "as"),
    ],
)
def test_other_words_are_not(language: str, one: str, other: str) -> None:
    assert not Inflection(language).are_one(one, other)


def test_the_longest_term_is_found_and_whole_words_only() -> None:
    pairs = (("Frist", "deadline"), ("Frist zur Abgabe", "submission deadline"), ("Gabe", "gift"))
    assert found("Die Frist zur Abgabe und die Fristen.", *pairs) == [
        ("Frist zur Abgabe", "submission deadline"),
        ("Fristen", "deadline"),
    ]
    assert found("Fristsetzung, EU-Frist und Frist-Ende", *pairs) == []
    assert found("Die EU-Frist.", ("EU-Frist", "EU deadline")) == [("EU-Frist", "EU deadline")]


def test_of_equal_ones_the_form_that_is_written_counts() -> None:
    pairs = (("Vertrag", "treaty"), ("Verträge", "contracts"))
    assert found("Vertrag und Verträge, des Vertrags", *pairs) == [
        ("Vertrag", "treaty"),
        ("Verträge", "contracts"),
        ("Vertrags", "treaty"),
    ]


def test_case_counts_where_it_tells_words_apart() -> None:
    assert found("Wir essen das Essen.", ("Essen", "food")) == [("Essen", "food")]
    assert found("Essen Sie!", ("essen", "to dine")) == [("Essen", "to dine")]
    assert found("It is IT.", ("IT", "Informatik"), source="en") == [("IT", "Informatik")]
    assert found("Open windows", ("Window", "Fenster"), source="en") == [("windows", "Fenster")]
    assert found("DAS FENSTER", ("Fenster", "window")) == [("FENSTER", "WINDOW")]


def test_a_repeated_term_counts_once_and_other_glossaries_follow() -> None:
    first, second = terms(("Fenster", "pane")), terms(("Fenster", "window"), ("Datei", "file"))
    assert [*first.then(second).entries] == [("Fenster", "pane"), ("Datei", "file")]
    assert repr(first) == repr(terms(("Fenster", "pane"))) != repr(second)


def test_long_texts_and_large_glossaries_take_linear_time() -> None:
    same_beginning = ((f"a Wort{number}", "x") for number in range(3_000))
    forms = ((f"{'b' * 5}{'B' * number}", "y") for number in range(500))
    large = terms(*same_beginning, *forms, (f"{'a ' * 39}b", "z"))
    began = time.process_time()
    assert large.find("a " * 10_000 + "bbbbbs " * 5_000) == []
    assert time.process_time() - began < 5


@pytest.fixture
def model(well_read: Translator) -> Translator:
    return well_read


PANE = TextOptions(terms=terms(("Fenster", "pane"), ("Datei", "file")))


def test_a_term_that_is_there_in_any_form_stays(model: Translator) -> None:
    answers = {"Die Fenster sind offen.": "The Panes are open."}
    assert translate("Die Fenster sind offen.", answers, model, PANE).text == "The Panes are open."


def test_a_term_that_is_missing_takes_the_place_of_what_it_was_translated_as(model: Translator) -> None:
    source = "Ein Fenster ist in der Datei."
    answers = {source: ("A window is in the document.", (0, 1, 2, 3, 4, 5, 6))}
    assert translate(source, answers, model).text == "A window is in the document."
    assert translate(source, answers, model, PANE).text == "A pane is in the file."


def test_the_model_says_which_place_is_the_likeliest(model: Translator) -> None:
    source = "Das Fenster ist offen."
    answers = {source: ("The window is open.", (0, 1, 2, 3, 4))}
    batches: list[SourceBatch] = []
    assert translate(source, answers, model, PANE, batches).text == "The pane is open."
    tried = [model.decode(target) for target in batches[-1].targets]
    assert len(tried) > 1 and all("pane" in text.lower() for text in tried)
    last = [-5.0] * (len(tried) - 1) + [-0.1]
    assert translate(source, answers, model, PANE, scores=last).text == tried[-1] != "The pane is open."


def test_a_term_at_the_beginning_has_a_capital(model: Translator) -> None:
    answers = {"Fenster sind offen.": ("Windows are open.", (0, 1, 2, 3))}
    assert translate("Fenster sind offen.", answers, model, PANE).text == "Pane are open."


def test_each_occurrence_counts(model: Translator) -> None:
    source = "Fenster und Fenster."
    answers = {source: ("Window and pane.", (0, 1, 2, 3))}
    assert translate(source, answers, model, PANE).text == "Pane and pane."


def test_no_term_is_found_in_placeholders_and_across_tags(model: Translator) -> None:
    source = "Die {Datei} ist offen."
    answers = {source: ("The {Datei} is open.", (0, 1, 2, 3, 4, 5, 6))}
    assert translate(source, answers, model, PANE).text == "The {Datei} is open."
    phrase = TextOptions(format="html", terms=terms(("offene Datei", "open file")))
    answers = {"Die offene Datei.": ("The plain document.", (0, 1, 2, 3))}
    assert translate("Die offene <b>Datei</b>.", answers, model, phrase).text == "The plain <b>document</b>."


def test_tags_stay_around_a_term(model: Translator) -> None:
    options = TextOptions(format="html", terms=PANE.terms)
    answers = {"Die Datei ist offen.": ("The document is open.", (0, 1, 2, 3, 4))}
    kept = translate("Die <b>Datei</b> ist <i>offen</i>.", answers, model, options)
    assert kept.text == "The <b>file</b> is <i>open</i>."


def test_numbers_and_terms_are_both_kept(model: Translator) -> None:
    options = TextOptions(terms=terms(("Windows 11", "Windows 11"), ("Datei", "file")))
    answers = {"Die Datei hat 7 Seiten.": ("The document has pages.", (0, 1, 2, 4, 5))}
    assert translate("Die Datei hat 7 Seiten.", answers, model, options).text == "The file has 7 pages."
    answers = {"Windows 11 ist neu.": ("Windows 10 is new.", (0, 1, 2, 3, 4))}
    assert translate("Windows 11 ist neu.", answers, model, options).text == "Windows 11 is new."


def test_a_domains_own_terms_are_kept_without_being_asked_for(model: Translator) -> None:
    own = Translator(model.bundle, model.tokenizer, model.engine)
    own.terms = terms(("Fenster", "pane"), ("offene Datei", "open document"), ("Knopf", "knob"))
    source = "Das Fenster hat einen Knopf."
    answers = {source: ("The window has a button.", (0, 1, 2, 3, 4, 5))}
    assert translate(source, answers, own).text == "The pane has a knob."
    # Where they overlap, the request's own count, also against a longer one.
    asked = TextOptions(terms=terms(("Fenster", "screen"), ("Datei", "record")))
    assert translate(source, answers, own, asked).text == "The screen has a knob."
    phrase = "Die offene Datei."
    answers = {phrase: ("The open file.", (0, 1, 2, 3))}
    assert translate(phrase, answers, own, asked).text == "The open record."
    assert translate(phrase, answers, own).text == "The open document."


@pytest.fixture
def taught(model: Translator) -> Translator:
    """A model that has learned to read how terms are translated."""
    manifest = model.bundle.manifest.model_copy(update={"term_markers": Markers("|", "|")})
    return Translator(Bundle(model.bundle.path, manifest), model.tokenizer, model.engine)


def test_a_model_that_has_learned_to_reads_how_a_term_is_translated(taught: Translator) -> None:
    answers = {"Ein Fenster | pane | ist in der Datei | file |.": "There are panes in the file."}
    assert translate("Ein Fenster ist in der Datei.", answers, taught, PANE).text == "There are panes in the file."
    assert translate("Alles ist da.", {"Alles ist da.": "All is there."}, taught, PANE).text == "All is there."


def test_a_term_that_it_does_not_write_all_the_same_is_put_in(taught: Translator) -> None:
    read = "Das Fenster | pane | ist offen."
    answers = {read: ("The window is open.", (0, 1, 5, 6, 7))}
    assert translate("Das Fenster ist offen.", answers, taught, PANE).text == "The pane is open."


def test_a_translation_with_markers_is_made_again_without_notes(taught: Translator) -> None:
    read = "Die Datei | file | ist offen."
    answers = {read: "The file | file | is open.", "Die Datei ist offen.": ("The document is open.", (0, 1, 2, 3, 4))}
    assert translate("Die Datei ist offen.", answers, taught, PANE).text == "The file is open."


def test_a_text_with_a_marker_of_its_own_is_read_as_it_is(taught: Translator) -> None:
    source = "Die Datei | ist offen."
    answers = {source: "The file | is open."}
    assert translate(source, answers, taught, PANE).text == "The file | is open."


def test_notes_tags_and_placeholders_go_together(taught: Translator) -> None:
    options = TextOptions(format="html", terms=PANE.terms)
    answers = {"Die Datei | file | {0} ist offen.": ("The file {0} is open.", (0, 1, 5, 6, 7, 8, 9, 10))}
    kept = translate("Die <b>Datei</b> {0} ist <i>offen</i>.", answers, taught, options)
    assert kept.text == "The <b>file</b> {0} is <i>open</i>."


def test_a_similar_sentence_of_the_memory_is_read_where_that_was_learned(taught: Translator, tmp_path: Path) -> None:
    path = write_bundle(tmp_path, "it", memory=[("Die alte Datei ist offen.", "The old file lies open.")])
    manifest = Bundle.open(path).manifest.model_copy(update={"memory_markers": Markers("|", "|")})
    reminded = Translator(Bundle(path, manifest), taught.tokenizer, taught.engine)
    options, source = TextOptions(memory=True), "Die neue Datei ist offen."
    read = f"{source} | | The old file lies open. | |"
    assert translate(source, {read: "The new file lies open."}, reminded, options).text == "The new file lies open."
    assert translate(source, {source: "The new file is open."}, reminded).text == "The new file is open."
    other = "Ganz etwas anderes."
    assert translate(other, {other: "Something else."}, reminded, options).text == "Something else."
    exact = translate("Die alte Datei ist offen.", {}, reminded, options)
    assert exact.text == "The old file lies open." and exact.sentences[0].remembered


def test_a_sentence_that_notes_would_make_too_long_is_read_without(taught: Translator) -> None:
    source = " ".join(["Datei"] * 8) + "."
    batches: list[SourceBatch] = []
    answers = {source: " ".join(["file"] * 8) + "."}
    assert translate(source, answers, taught, PANE, batches).text == answers[source]


def placed(source: str, answer: str | tuple[str, tuple[int, ...]], model: Translator, options: TextOptions) -> object:
    """Each term in the source, with what stands for it in the translation."""
    (sentence,) = translate(source, {re.sub("<[^>]*>", "", source): answer}, model, options).sentences
    assert sentence.terms is not None
    return [
        (sentence.source[slice(*at)], place and sentence.translation[slice(*place)]) for at, place in sentence.terms
    ]


def test_where_terms_stand_is_told(model: Translator) -> None:
    source = "Ein Fenster ist in der Datei."
    kept, exchanged = ("A pane is in the Files.", "A window is in the document.")
    links = (0, 1, 2, 3, 4, 5, 6)
    assert placed(source, (kept, links), model, PANE) == [("Fenster", "pane"), ("Datei", "Files")]
    assert placed(source, (exchanged, links), model, PANE) == [("Fenster", "pane"), ("Datei", "file")]
    assert placed("Ja.", "Yes.", model, PANE) == []
    (without,) = translate("Ja.", {"Ja.": "Yes."}, model).sentences
    assert without.terms is None


def test_a_term_that_found_no_place_has_none(model: Translator) -> None:
    options = TextOptions(terms=terms(("Datei", "a folder with very many words")))
    assert placed("Datei %s", ("%s", (1, 2)), model, options) == [("Datei", None)]


def test_where_terms_stand_is_told_in_what_is_shown(model: Translator) -> None:
    options = TextOptions(format="html", terms=terms(("Datei", "file"), ("offen", "open now")))
    answer = ("The file is: plain.", (0, 1, 2, 4, 3, 4))
    source = 'Die <b>Datei</b> ist<img src="x"> offen.'
    assert placed(source, answer, model, options) == [("Datei", "file"), ("offen", "open now")]


def test_a_term_may_be_a_part_of_a_date(model: Translator) -> None:
    known = terms(("Windows 11", "Windows 11"), ("Datei", "file"))
    options = TextOptions(terms=known, search=TranslationOptions(attention=True))
    answer = ("Windows 11 May file 11 May.", (1, 2, 3, 4, 6, 7, 8))
    source = "Am Windows 11 Mai Datei am 11. Mai."
    assert placed(source, answer, model, options) == [("Windows 11", "Windows 11"), ("Datei", "file")]


def test_sentences_without_terms_cost_nothing_more(model: Translator) -> None:
    batches: list[SourceBatch] = []
    translate("Ja.", {"Ja.": "Yes."}, model, PANE, batches)
    assert len(batches) == 1 and not batches[0].options.attention
