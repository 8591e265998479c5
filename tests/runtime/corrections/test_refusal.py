"""Corrections are refused that would teach a model to lose placeholders and tags."""

import pytest

from fmalloc_runtime.corrections.refusal import refused, tidied


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("%s Dateien in {0} gelöscht", "%s files deleted in {0}", None),
        ("%s Dateien in {0} gelöscht", "%s files deleted", "the target lacks {0} of the source"),
        ("%s von %s", "%s of them", "the target lacks %s of the source"),
        ("<b>Achtung</b>: offen", "<b>Attention</b>: open", None),
        ("<b>Achtung</b>: offen", "<b>Attention: open", "the target lacks </b of the source"),
        ('<a title="Datei">auf</a>', '<a title="File">open</a>', None),
        ("{n, plural, =0 {leer} other {# Dateien}}", "{n, plural, =0 {empty} other {# files}}", None),
        (
            "{n, plural, =0 {leer} other {# Dateien}}",
            "{m, plural, =0 {empty} other {# files}}",
            "the target lacks {n, of the source",
        ),
        ("A&nbsp;B sind offen", "A and B are open", None),
        ("5 % der Dateien [sic]", "5% of the files", None),
        ("Das Fenster", "", "a side is empty"),
    ],
)
def test_placeholders_and_tags_have_to_stay(source: str, target: str, reason: str | None) -> None:
    assert refused(source, target) == reason


def test_what_shows_nothing_is_taken_out() -> None:
    assert tidied(" Fen\u00adster\ufeff \n") == "Fenster"
