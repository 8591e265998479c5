"""Sentences as spans, and where long ones are cut."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmalloc_runtime.text.document.sentences import fitting, sentences


def shown(text: str, language: str = "de", **options: object) -> list[str]:
    return [text[slice(*span)] for span in sentences(text, language, options.get("splitting", "sentences"))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "de",
            "Das ist z. B. Dr. Müller.  Er wohnt am 3. Mai hier. ",
            ["Das ist z. B. Dr. Müller.", "Er wohnt am 3. Mai hier."],
        ),
        ("de", "„Ja?“, fragte er. »Nein!«", ["„Ja?“, fragte er.", "»Nein!«"]),
        ("de", "Siehe java.lang.Object und README.md.Dann", ["Siehe java.lang.Object und README.md.Dann"]),
        ("ja", "これはペンです。それは本です。", ["これはペンです。", "それは本です。"]),
        ("fr", "Vraiment\u00a0? Oui.", ["Vraiment\u00a0?", "Oui."]),
        ("deu_Latn", "Ja.\r\nNein.\rDoch.", ["Ja.", "Nein.", "Doch."]),
        ("de", "A\u00a0B\u00a0. C\u0085. D", ["A\u00a0B\u00a0. C\u0085. D"]),
        ("de", "a\ud800. B", ["a\ud800.", "B"]),
    ],
)
def test_sentences(language: str, text: str, expected: list[str]) -> None:
    assert shown(text, language) == expected


def test_no_sentence_ends_inside_what_belongs_together() -> None:
    text = "Siehe {n, plural, one {Eins. Neu} other {Zwei. Neu}} hier. Ja."
    begin, end = text.index("{"), text.rindex("}") + 1
    assert [text[slice(*span)] for span in sentences(text, "de", "sentences", [(begin, end)])] == [text[:-4], "Ja."]


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from('aB. !?"()«»\n\r\t0…。\u00a0\u2028\u0301😀:-\ud800'), max_size=60),
    st.sampled_from(["de", "en", "ja", "xx"]),
)
def test_nothing_but_space_is_left_out(text: str, language: str) -> None:
    spans = sentences(text, language, "sentences")
    assert "".join(text[slice(*span)] for span in spans).split() or not text.split()
    at = 0
    for begin, end in (*spans, (len(text), len(text))):
        assert not text[at:begin].strip() and at <= begin
        at = end


def test_a_long_line_takes_time_in_proportion() -> None:
    begin = time.process_time()
    assert sentences("«" * 100_000, "de", "sentences")
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eins zwei, drei vier fünf", ["eins zwei,", "drei", "vier fünf"]),
        ("einszwei dreivier", ["einszwei", "dreivier"]),
        ("a" * 15, ["a" * 7, "a" * 8]),
        ("e\u0301" * 6, ["e\u0301" * 3, "e\u0301" * 3]),
    ],
)
def test_long_sentences_are_cut_at_the_best_place(text: str, expected: list[str]) -> None:
    spans = fitting(text, (0, len(text)), [], lambda span: span[1] - span[0] <= 10)
    assert [text[slice(*span)] for span in spans] == expected


def test_what_belongs_together_is_not_cut() -> None:
    text = "eins {a b c d e f} zwei"
    spans = fitting(text, (0, len(text)), [(5, 18)], lambda span: span[1] - span[0] <= 8)
    assert [text[slice(*span)] for span in spans] == ["eins", "{a b c d e f}", "zwei"]
