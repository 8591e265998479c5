"""What stands in a source beside its own text, for a domain that has learned to read it.

    Die Datei | file | ist offen.                                how a term is translated (Dinu et al. 2019)
    Die Datei ist offen. | | The window is open. | |             how a similar source was (Bulté and Tezcan 2019)

Learning writes sources so, and the runtime does, by the same rules.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Markers(NamedTuple):
    """What stands before and after an annotation: two tokens that the base has, and that text hardly ever has."""

    before: str
    after: str

    def are_in(self, text: str) -> bool:
        """Whether a text has one of them itself, so that a note in it could not be told."""
        return any(marker in text for marker in self)


class Note(NamedTuple):
    """A text that is put into a source behind its character `at`, counted from 1: at the end of a term or of all."""

    at: int
    text: str
    markers: Markers


# The first that a base knows are taken. Stores are read by this order: new ones come last.
_MARKERS = (
    Markers("⟦", "⟧"),
    Markers("‹", "›"),
    Markers("|", "|"),
    Markers("~", "~"),
    Markers("[", "]"),
)


def markers_known(knows: Callable[[str], bool]) -> Markers | None:
    """The markers of a base, by whether its source vocabulary knows a sign; None if it knows none of them."""
    return next((markers for markers in _MARKERS if all(map(knows, markers))), None)


def term_note(end: int, target: str, markers: Markers) -> Note:
    """How a term that ends at character `end` is to be translated."""
    return Note(end, f" {markers.before} {target} {markers.after}", markers)


def memory_note(end: int, translation: str, markers: Markers) -> Note:
    """How a source that is similar to one of `end` characters was translated."""
    before, after = (f"{marker} {marker}" for marker in markers)
    return Note(end, f" {before} {translation} {after}", markers)


def with_notes(text: str, notes: Sequence[Note]) -> str:
    """The text with notes, which are in order."""
    parts, begin = [], 0
    for note in notes:
        parts += [text[begin : note.at], note.text]
        begin = note.at
    return "".join([*parts, text[begin:]])
