"""Notes beside the terms of a source."""

from fmalloc_shared.annotations import Markers, markers_known, term_note, with_notes


def test_notes_stand_behind_their_terms() -> None:
    text, markers = "Die Datei, ein Fenster.", Markers("|", "|")
    notes = [term_note(9, "file", markers), term_note(22, "window pane", markers)]
    assert with_notes(text, notes) == "Die Datei | file |, ein Fenster | window pane |."
    assert with_notes(text, []) == text


def test_the_first_markers_that_a_base_knows_are_taken() -> None:
    assert markers_known(lambda _sign: True) == Markers("⟦", "⟧")
    assert markers_known(lambda sign: sign in "~|›") == Markers("|", "|")
    assert markers_known(lambda sign: sign in "‹[") is None
