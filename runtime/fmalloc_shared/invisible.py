"""Characters that show nothing and mean nothing: left out of what is learned from and of what is translated."""

import re
import unicodedata
from collections.abc import Sequence

_ALWAYS = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # controls that are not white space
    "\u00ad"  # soft hyphen
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # directions
    "\u2060-\u2064\ufeff"  # word joiner, operators of formulas, byte order mark
    "\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"  # annotation, shorthand, music, language tag
)
# These have a meaning in some places: a break between words written together, joiners of letters (one of them of emoji
# too), and the tags that make a flag a region's.
_BREAK = "\u200b"
_JOINERS = "\u180e\u200c\u200d"
_EMOJI_JOINER = "\u200d"
_TAGS = "\U000e0020-\U000e007f"

_CANDIDATE = re.compile(f"[{_ALWAYS}{_BREAK}{_JOINERS}{_TAGS}]")
_SEEN = re.compile(f"[^{_ALWAYS}]+")
_SOMETIMES = re.compile(f"[{_BREAK}{_JOINERS}{_TAGS}]")
_TAG = re.compile(f"[{_TAGS}]")
# Thai, Lao, Tibetan, Myanmar and Khmer, whose words have no spaces between them.
_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f]")
# Scripts whose letters take another form by joiners: Arabic and its kin, those of India and South-East Asia, Mongolian.
_SHAPED = re.compile(
    "[\u0600-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff]"
)
_EMOJI_MODIFIERS = "\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # as text or picture; skin tones

DIRECTED = {**dict.fromkeys("\u202a\u202b\u202d\u202e", "\u202c"), **dict.fromkeys("\u2066\u2067\u2068", "\u2069")}
"""Characters that begin text with its own direction, each with the one that ends it."""


def is_invisible(text: str) -> bool:
    """Whether a text is nothing but characters that are left out in some place."""
    return _CANDIDATE.sub("", text) == ""


def visible_places(text: str) -> list[int] | None:
    """Indices of the characters that stay; None if all do.

    Joiners stay where they shape letters or join emoji, tags behind the emoji that they modify, and breaks between
    words that have no space between them.
    """
    if _CANDIDATE.search(text) is None:
        return None
    places = [at for match in _SEEN.finditer(text) for at in range(*match.span())]
    if _SOMETIMES.search(text) is not None:
        places = _meant(text, places)
    return places if len(places) < len(text) else None


def without_invisible(text: str) -> str:
    """The text without the characters that show nothing and mean nothing."""
    places = visible_places(text)
    return text if places is None else "".join([text[at] for at in places])


def _meant(text: str, places: Sequence[int]) -> list[int]:
    """The places without joiners, breaks and tags that mean nothing where they are."""
    kept: list[int] = []
    for number, at in enumerate(places):
        before = text[places[number - 1]] if number else ""
        after = text[places[number + 1]] if number + 1 < len(places) else ""
        if _TAG.match(text[at]):
            stays = bool(kept) and kept[-1] == places[number - 1] and (_is_emoji(before) or bool(_TAG.match(before)))
        else:
            stays = _SOMETIMES.match(text[at]) is None or _is_meant(text[at], before, after)
        if stays:
            kept.append(at)
    return kept


def _is_meant(character: str, before: str, after: str) -> bool:
    """Whether a joiner or break has a meaning between these two characters, which are empty at the text's ends."""
    if character == _BREAK:
        return bool(_UNSPACED.match(before) and _UNSPACED.match(after))
    if _SHAPED.match(before) or _SHAPED.match(after):
        return True
    return character == _EMOJI_JOINER and _is_emoji(before) and _is_emoji(after)


def _is_emoji(character: str) -> bool:
    return character != "" and (character in _EMOJI_MODIFIERS or unicodedata.category(character) == "So")
