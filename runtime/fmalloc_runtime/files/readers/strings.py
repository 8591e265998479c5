"""String files of apps: Android's strings.xml, Apple's .strings and .stringsdict; texts are translated in place."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

from fmalloc_runtime.files.document import Document, FileFormatError, Unit, Wanted, kept_units
from fmalloc_runtime.files.elements import Element, escaped, parse
from fmalloc_runtime.files.encoding import decoded, decoded_xml
from fmalloc_runtime.files.inline import Marked, Piece, joined, marked, pieces_of, strung, tagged

_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))|\s+", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_REFERENCE = re.compile(r"\s*[@?][\w+:./]+\s*")
_CDATA = re.compile(r"(\s*<!\[CDATA\[)(.*)(\]\]>\s*)", re.DOTALL)
_APPLE = re.compile(
    r'(?P<space>\s+|/\*.*?\*/|//[^\n]*)|"(?P<string>(?:[^"\\]|\\.)*)"|(?P<word>[\w.$/:-]+)|(?P<sign>[=;])', re.DOTALL
)
_APPLE_ESCAPE = re.compile(r"\\(?:U([0-9A-Fa-f]{4})|([0-7]{3})|(.))", re.DOTALL)
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}
_PLURALS = frozenset({"zero", "one", "two", "few", "many", "other", "NSStringLocalizedFormatKey"})


def read_android(data: bytes, where: str, wanted: Wanted) -> Document:
    """Android's strings: `string`, and `item` of `string-array` and `plurals`."""
    text, encode = decoded_xml(data, where)
    root = parse(text, where)
    if root.name != "resources":
        raise FileFormatError(f"{where}: <{root.tag[:40]}>: expected <resources>, as Android's strings have it")
    return Document(text, kept_units(list(_android(root, text)), wanted.limits, where), encode)


def read_apple(data: bytes, where: str, wanted: Wanted) -> Document:
    """Apple's `"key" = "value";`, in UTF-8 or UTF-16."""
    if data.startswith(b"bplist"):
        raise FileFormatError(f"{where}: is a binary property list: plutil -convert strings makes text of it")
    text, encode = decoded(data, where)
    units = []
    for begin, end in _values(text, where):
        found = marked(pieces_of(_paired(_APPLE_ESCAPE.sub(_apple_character, text[begin:end]))))
        units.append(Unit(found.source, begin, end, partial(_write, found, _apple_escaped)))
    return Document(text, kept_units(units, wanted.limits, where), encode)


def read_stringsdict(data: bytes, where: str, wanted: Wanted) -> Document:
    """Apple's .stringsdict: the texts of plural categories and NSStringLocalizedFormatKey."""
    if data.startswith(b"bplist"):
        raise FileFormatError(f"{where}: is a binary property list: plutil -convert xml1 makes text of it")
    text, encode = decoded_xml(data, where)
    root = parse(text, where)
    if root.name != "plist":
        raise FileFormatError(f"{where}: <{root.tag[:40]}>: expected <plist>")
    units = []
    for element in root.walk():
        for key, value in pairwise(element.children):
            if key.name == "key" and value.name == "string" and key.text in _PLURALS and value.first < value.end:
                found = marked(pieces_of(value.text))
                units.append(Unit(found.source, value.first, value.last, partial(_write, found, escaped)))
    return Document(text, kept_units(units, wanted.limits, where), encode)


def _write(found: Marked, escape: Callable[[str], str], translation: str) -> str | None:
    written = strung(found, translation)
    return None if written is None else escape(written)


def _android(root: Element, text: str) -> Iterator[Unit]:
    for element in root.walk():
        named = element.name == "string" or (
            element.name == "item" and element.parent is not None and element.parent.name in ("string-array", "plurals")
        )
        if not named or element.first == element.end or element.inherited("translatable") == "false":
            continue
        raw = text[element.first : element.last]
        if _REFERENCE.fullmatch(raw):
            continue
        if (match := _CDATA.fullmatch(raw)) and "]]>" not in match[2]:
            begin = element.first + match.start(2)
            found = marked(pieces_of(_android_text(match[2])))
            yield Unit(found.source, begin, begin + len(match[2]), partial(_write, found, _in_cdata))
        else:
            found = marked(list(_android_pieces(element, text)))
            yield Unit(found.source, element.first, element.last, partial(_write_android, found))


def _android_pieces(element: Element, text: str) -> Iterator[Piece]:
    for node in element.nodes:
        if isinstance(node, str):
            yield from tagged(node, escaped, _android_text)
        elif isinstance(node, tuple):
            yield Piece("point", node[0])
        elif node.tag == "xliff:g":
            yield Piece("kept", text[node.begin : node.end], shown=node.text)
        elif node.first == node.end:
            yield Piece("point", text[node.begin : node.end])
        else:
            yield Piece("open", text[node.begin : node.first], node)
            yield from _android_pieces(node, text)
            yield Piece("close", text[node.last : node.end], node)


def _write_android(found: Marked, translation: str) -> str | None:
    pieces = found.pieces(translation)
    if pieces is None:
        return None
    return _first_escaped(joined(pieces, lambda text: escaped(_android_escaped(text))))


def _in_cdata(text: str) -> str:
    return _first_escaped(_android_escaped(text)).replace("]]>", "]]]]><![CDATA[>")


def _android_text(raw: str) -> str:
    """What Android shows of a string: quotes keep white space, a backslash keeps what is behind it."""
    pieces, at = [], 0
    for match in _QUOTED.finditer(raw):
        if raw[at : match.start()].endswith("\\"):
            continue
        pieces += [_unescaped(raw[at : match.start()], False), _unescaped(match[1], True)]
        at = match.end()
    return "".join([*pieces, _unescaped(raw[at:], False)])


def _unescaped(raw: str, whole: bool) -> str:
    def character(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        if match[2]:
            return _CONTROLS.get(match[2], match[2])
        return match[0] if whole else " "

    return _paired(_ESCAPE.sub(character, raw))


def _paired(text: str) -> str:
    """Text in which two halves of a surrogate pair, written one after the other, are one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _android_escaped(text: str) -> str:
    return re.sub(r"([\\'\"])", r"\\\1", text).replace("\n", "\\n").replace("\t", "\\t")


def _first_escaped(written: str) -> str:
    """At the beginning of a string, @ and ? mean something else."""
    return f"\\{written}" if written[:1] in ("@", "?") else written


def _values(text: str, where: str) -> Iterator[tuple[int, int]]:
    """The spans of the values between their quotes; FileFormatError names the line that is not `key = "value";`."""
    at, state, expected = 0, 0, ("a key", "=", 'a "value"', ";")
    while at < len(text):
        match = _APPLE.match(text, at)
        kind = match.lastgroup if match else None
        fits = (("string", "word"), ("sign",), ("string",), ("sign",))[state]
        if match is not None and kind == "space":
            at = match.end()
            continue
        if match is None or kind not in fits or (kind == "sign" and match[0] != expected[state]):
            line = text.count("\n", 0, at) + 1
            raise FileFormatError(f"{where}:{line}: {text[at : at + 20]!r}: expected {expected[state]}")
        if state == 2:
            yield match.span("string")
        at, state = match.end(), (state + 1) % 4
    if state:
        raise FileFormatError(f"{where}: ends where {expected[state]} is expected")


def _apple_character(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return chr(int(match[2], 8)) if match[2] else _CONTROLS.get(match[3], match[3])


def _apple_escaped(text: str) -> str:
    return re.sub(r"([\\\"])", r"\\\1", text).replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
