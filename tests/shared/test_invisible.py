import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmalloc_shared.invisible import is_invisible, visible_places, without_invisible

# Format characters that a reader sees: signs of numbers and verses, and the joins of hieroglyphs.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Donau\u00addampf\u00adschiff", "Donaudampfschiff"),
        ("\ufeffEins\u200b zwei\u2060", "Eins zwei"),
        ("Auf\u200clage", "Auflage"),
        ("a\tb\nc\r\nd\u00a0e\u2028f\x85g", None),
        ("a\x00b\x7fc\x9bd", "abcd"),
        ("\u2068{name}\u2069 \u202aabc\u202c", "{name} abc"),
        ("👩\u200d🚒 ❤\ufe0f\u200d🔥 👩🏽\u200d🚀", None),
        ("👩\u200d Feuerwehr\u200d🚒", "👩 Feuerwehr🚒"),
        ("🏴\U000e0067\U000e0062\U000e007f", None),
        ("ja\U000e0067\U000e0062", "ja"),
        ("می\u200cخواهم", None),
        ("می\u00ad\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", None),
        ("สวัสดี\u200bครับ", None),
        ("สวัสดี\u200b.", "สวัสดี."),
    ],
)
def test_what_shows_and_means_nothing_goes(text: str, shown: str | None) -> None:
    assert without_invisible(text) == (text if shown is None else shown)
    assert (visible_places(text) is None) == (shown is None)


def test_every_control_and_format_character_goes_from_a_word_unless_it_is_seen_or_white_space() -> None:
    for code in range(0x110000):
        character = chr(code)
        gone = unicodedata.category(character) in ("Cc", "Cf") and not character.isspace() and code not in SEEN
        assert is_invisible(character) == gone, hex(code)
        if gone:
            assert without_invisible(f"Ser{character}ver") == "Server"


tricky = st.text(
    st.sampled_from("ab 👩🚒🏴❤\ufe0f\u200d\u200c\u200b\u00ad\u2068\u2069\U000e0067\U000e007fمیสว"), max_size=12
)


@given(tricky)
def test_once_is_enough(text: str) -> None:
    shown = without_invisible(text)
    assert without_invisible(shown) == shown
    places = visible_places(text)
    assert "".join(text[at] for at in (range(len(text)) if places is None else places)) == shown
