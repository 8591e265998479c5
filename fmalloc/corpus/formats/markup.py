"""Markup that tools leave in text: entities are decoded, and tags and inline codes become a space or nothing.

A code between two words stands for something that separated them, such as a line break, and becomes a space. A tag
that marks text, such as bold type, becomes nothing, so that a word of which half is bold stays one word.
"""

import html
import re
from html.entities import html5
from typing import NamedTuple

# Where a code stood that may have separated words; a noncharacter of Unicode, which no text holds.
BREAK = "\ufdd0"
# Elements of TMX and XLIFF whose content is code of the document's format.
CODES = frozenset({"bpt", "ept", "ph", "it", "ut"})
# Elements that may stand for a space: codes that surround no text, and what HTML puts on a line apart.
BREAKS = frozenset(
    {"ph", "it", "ut", "x", "br", "hr", "img", "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "tr", "td", "th"}
    | {"table", "h1", "h2", "h3", "h4", "h5", "h6"}
)

# A sentence's or a word's end before, and a beginning after; quotation marks may be either, and get no space.
_SEPARATED = re.compile(rf"(?<=[\w.,;:!?…)\]}}%]){BREAK}+(?=[\w(\[{{„¿¡])")
_LINE_SPACE = re.compile("[ \t\r\n\x85\u2028\u2029]+")
_SUSPICIOUS = re.compile("[<&{}]")

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
# `&amp;amp;quot;` is as deep as tools nest them.
_ENCODED_AT_MOST = 3

# Lengths are bounded so that the time stays linear in the text's length, whatever it holds.
_ATTRIBUTES = r"""(?:\s{1,9}[\w:.-]{1,99}\s{0,9}=\s{0,9}(?:"[^"]{0,999}"|'[^']{0,999}'|[^\s"'<>=]{1,99})){0,99}"""
_TAG = re.compile(rf"<(/?)([A-Za-z][\w:.-]{{0,63}}|[0-9]{{1,4}})({_ATTRIBUTES})\s{{0,9}}(/?)>")
_START_NAME, _END_NAME = re.compile(r"<([\w:.-]{1,63})[\s>]"), re.compile(r"</([\w:.-]{1,63})>")
_CODE = re.compile(rf"<({'|'.join(sorted(CODES))}){_ATTRIBUTES}\s{{0,9}}>.{{0,999}}?</\1>", re.DOTALL)
# XLIFF's <mrk> marks segments, but also terms and comments.
_SEGMENT = re.compile(r"""mtype\s*=\s*["']?seg\b""")
_FORMAT = frozenset(
    {"a", "b", "big", "em", "font", "g", "i", "s", "small", "span", "strike", "strong", "sub", "sup", "u"}
)
# What is a tag even where the other one of its pair is in another sentence. Of other names, such as <table> or </home>,
# one alone may be a manual's word for a value, or the thing that the sentence is about.
_STARTS = (_FORMAT - {"g"}) | {"br", "hr", "li", "p"}
_ENDS = _FORMAT | BREAKS | CODES | {"cf", "hi", "mrk"}
# As OmegaT and Smartcat number them: <f0>, <1>. After a letter or "?" it is code: `Vec<f64>`, `(?<1>a)`;
# and <h1> is HTML's.
_NUMBERED = re.compile(r"(?!h[1-6]\Z)[a-z]{0,3}[0-9]{1,4}")
# As Phrase ({b>bold<b}) and memoQ ([1}bold{1]) write pairs. A lone {1} is a placeholder, which is translated.
_BRACED = re.compile(r"\{(\w{1,3})>(.{0,999}?)<\1\}", re.DOTALL)
_NESTED_AT_MOST = 9
_BRACKETED = re.compile(r"\[[0-9]{1,3}\}|\{[0-9]{1,3}\]")


class PlainText(NamedTuple):
    """A text without markup, and what was in it."""

    text: str
    entities: bool = False
    tags: bool = False


def may_have_markup(text: str) -> bool:
    """Whether `plain` may change the text."""
    return _SUSPICIOUS.search(text) is not None


def plain(text: str) -> PlainText:
    """Decode entities, also those encoded twice, and take out tags, also those that entities spelt."""
    if not may_have_markup(text):
        return PlainText(text)
    untagged = _without_tags(text)
    decoded = _decoded(untagged)
    found = _without_tags(decoded) if decoded != untagged else untagged
    if found == text:
        return PlainText(text)
    return PlainText(one_line(found), entities=decoded != untagged, tags=untagged != text or found != decoded)


def one_line(text: str) -> str:
    """One line without breaks: a break between words or sentences becomes a space, any other becomes nothing."""
    if BREAK in text:
        text = _SEPARATED.sub(" ", text).replace(BREAK, "")
    if "  " in text or not text.isprintable():
        text = _LINE_SPACE.sub(" ", text)
    return text.strip()


def _decoded(text: str) -> str:
    for _ in range(_ENCODED_AT_MOST):
        if "&" not in text or (decoded := _ENTITY.sub(_character, text)) == text:
            break
        text = decoded
    return text


def _character(entity: re.Match[str]) -> str:
    """What an entity stands for. Unknown names stay: html.unescape would read `&notit;` as `¬it;`."""
    found = entity.group()
    return html.unescape(found) if found[1] == "#" else html5.get(found[1:], found)


def _without_tags(text: str) -> str:
    if "<" in text:
        text = _CODE.sub(lambda code: BREAK if code[1] in BREAKS else "", text)
        paired = frozenset(_START_NAME.findall(text)).intersection(_END_NAME.findall(text))
        text = _TAG.sub(lambda tag: _replacement(tag, paired), text)
    if "}" in text:
        for _ in range(_NESTED_AT_MOST):
            if (unbraced := _BRACED.sub(r"\2", text)) == text:
                break
            text = unbraced
        text = _BRACKETED.sub("", text)
    return text


def _replacement(tag: re.Match[str], paired: frozenset[str]) -> str:
    """A break or nothing in place of a tag; what only looks like one stays."""
    end, name, attributes, alone = tag.groups()
    low = name.lower()
    before = tag.string[max(tag.start() - 1, 0) : tag.start()]
    numbered = _NUMBERED.fullmatch(name) and not (before.isalnum() or before == "?")
    known = name in (low, name.upper()) and low in (_ENDS if end else _STARTS)
    if (end and (attributes or alone)) or not (attributes or alone or name in paired or numbered or known):
        return tag.group()
    separates = alone or low in BREAKS or (low == "mrk" and _SEGMENT.search(attributes))
    return BREAK if separates or (end and not numbered and _is_repeated(tag)) else ""


def _is_repeated(end: re.Match[str]) -> bool:
    """Whether the element that ends here begins again: <key>Ctrl</key><key>C</key> are two words.

    Format that ends and begins again may be inside a word, as office programs write it.
    """
    name = end[2]
    return name.lower() not in _FORMAT and end.string.startswith((f"<{name}>", f"<{name} "), end.end())
