"""HTML and XML as blocks of text; everything outside the blocks stays unchanged."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.entities import html5
from typing import Literal

from fmalloc_runtime.text.document.block import OBJECT, Block, Tag, visible
from fmalloc_runtime.text.document.scanner import Token, scan
from fmalloc_runtime.text.items import Item
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_runtime.text.words import has_letters
from fmalloc_shared.invisible import is_invisible, without_invisible


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_BLOCKS = _names(
    "address article aside blockquote body br button caption center col colgroup dd details dialog dir div dl "
    "dt fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li "
    "link main menu meta nav noscript ol optgroup option p pre search section select summary table tbody td "
    "textarea tfoot th thead title tr ul "
)
_VOID = _names("area base br col embed hr img input link meta param source track wbr")
_KEPT = _names("code samp var svg math")
_PREFORMATTED = frozenset({"pre"})
_NO_TRANSLATION = re.compile(
    r"""\stranslate\s*=\s*["']?no\b|\sclass\s*=\s*(?:"[^"]*(?<![\w-])notranslate(?![\w-])|'[^']*(?<![\w-])notranslate(?![\w-])"""
    r"""|notranslate(?=[\s>]))""",
    re.IGNORECASE,
)
_TEXT = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,8}|[A-Za-z][A-Za-z0-9]{0,40});?|\s+|[^&\s]+|&")
_XML_NAMES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_CDATA, _CDATA_END = "<![CDATA[", "]]>"
_CDATA_SPLIT = "]]]]><![CDATA[>"
_MARKED = re.compile(r"</?[A-Za-z]|&(?:[A-Za-z]{1,40}|#\w{1,8});")
# A kept element with more text than this does not help a model.
_LONGEST_KEPT = 80


def blocks_of(text: str, options: TextOptions) -> list[Block]:
    """The blocks of an HTML or XML text, in order."""
    reader = _Reader(text, options)
    reader.read(_elements(scan(text, options.format == "html"), text, options))
    return reader.blocks


def sections_of(text: str, options: TextOptions) -> list[str]:
    """What CDATA sections of an XML text hold, each once, in order; not of elements that are not translated."""
    found: dict[str, None] = {}
    if options.format == "xml" and _CDATA in text:
        elements = _elements(scan(text, html=False), text, options)
        index = 0
        while index < len(elements):
            begin, end = elements[index].token.begin, elements[index].token.end
            if text.startswith(_CDATA, begin):
                found[text[begin + len(_CDATA) : end - len(_CDATA_END)]] = None
            index = max(index, elements[index].last) + 1
    return [section for section in found if has_letters(section)]


def with_sections(text: str, translations: Mapping[str, str]) -> str:
    """The text with other content in its CDATA sections, by what they hold."""
    pieces, at = [], 0
    while translations and (begin := text.find(_CDATA, at)) >= 0 and (end := text.find(_CDATA_END, begin)) >= 0:
        begin += len(_CDATA)
        content = text[begin:end]
        translation = translations.get(content, content).replace(_CDATA_END, _CDATA_SPLIT)
        pieces.extend([text[at:begin], translation])
        at = end
    return "".join([*pieces, text[at:]])


def section_format(section: str) -> Literal["html", "text"]:
    """HTML if there is markup or an entity in it, else plain text, in which & is a character."""
    return "html" if _MARKED.search(section) else "text"


@dataclass(slots=True)
class _Element:
    """A token with its `role`: its effect on the text around it."""

    token: Token
    role: Literal["text", "inline", "point", "break", "keep"]
    pair: int = -1
    last: int = -1  # of a kept element: the index of its last token


def _elements(tokens: Sequence[Token], text: str, options: TextOptions) -> list[_Element]:
    elements = [_Element(token, "text" if token.kind == "text" else "point") for token in tokens]
    partners = pairs(tokens, options.format == "html")
    inline = _inline_parents(tokens, partners, text) if options.format == "xml" else None
    for index, (token, element) in enumerate(zip(tokens, elements, strict=True)):
        partner = partners.get(index)
        if partner is not None:
            element.role, element.pair = "inline", min(index, partner)
        if token.kind == "close" and partner is None:
            element.role = "break"  # it must not move behind a tag that it would close
        if token.name and _breaks(token, element, inline, index if partner is None else min(index, partner), options):
            element.role = "break"
        if token.kind == "open" and partner is not None and _kept(token, text, options):
            element.role, element.last = ("break" if element.role == "break" else "keep"), partner
    return elements


def pairs(tokens: Sequence[Token], is_html: bool) -> dict[int, int]:
    """For each tag of a pair, the index of the other one; pairs never overlap."""
    partners: dict[int, int] = {}
    opened: list[int] = []
    by_name: dict[str, list[int]] = {}
    for index, token in enumerate(tokens):
        if token.kind == "open" and not (is_html and token.name in _VOID):
            by_name.setdefault(token.name, []).append(len(opened))
            opened.append(index)
        elif token.kind == "close" and (depths := by_name.get(token.name)):
            depth = depths[-1]
            partners[index], partners[opened[depth]] = opened[depth], index
            for other in opened[depth:]:
                by_name[tokens[other].name].pop()
            del opened[depth:]
    return partners


def _inline_parents(tokens: Sequence[Token], partners: dict[int, int], text: str) -> set[int]:
    """XML tags whose parent has text itself: they are inline, all others contain blocks."""
    parents: list[int] = [-1]
    with_text: set[int] = set()
    parent_of: dict[int, int] = {}
    for index, token in enumerate(tokens):
        partner = partners.get(index)
        if partner is not None and partner < index:
            parents.pop()
            continue
        parent_of[index] = parents[-1]
        if token.kind == "text" and text[token.begin : token.end].strip():
            with_text.add(parents[-1])
        if partner is not None:
            parents.append(index)
    return {index for index, parent in parent_of.items() if parent in with_text}


def _breaks(token: Token, element: _Element, inline: set[int] | None, opener: int, options: TextOptions) -> bool:
    if token.name in options.non_splitting_tags:
        return False
    if token.name in options.splitting_tags:
        return True
    if inline is None:
        return token.name in _BLOCKS
    return opener not in inline and element.role == "inline"


def _kept(token: Token, text: str, options: TextOptions) -> bool:
    if token.name in options.ignore_tags:
        return True
    if options.format == "html" and token.name in _KEPT:
        return True
    return _NO_TRANSLATION.search(text, token.begin, token.end) is not None


@dataclass
class _Reader:
    source: str
    options: TextOptions
    blocks: list[Block] = field(default_factory=list)
    preformatted: int = 0

    def __post_init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._text: list[str] = []
        self._length = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._tags: list[Tag] = []
        self._kept: list[Item] = []

    def read(self, elements: Sequence[_Element]) -> None:
        index = 0
        while index < len(elements):
            element = elements[index]
            token = element.token
            if element.role == "text":
                self._read_text(token.begin, token.end)
            elif element.role == "break":
                self._finish()
                self.preformatted += self._preformatted(element)
            elif element.role == "keep":
                self._keep(elements, index)
            else:
                self._tag(element)
            index = max(index, element.last) + 1
        self._finish()

    def _finish(self) -> None:
        if self._length:
            text = "".join(self._text)
            block = Block(text, self._starts, self._ends, tuple(self._tags), tuple(self._kept))
            self.blocks.append(visible(block))
        self._clear()

    def _preformatted(self, element: _Element) -> int:
        if element.pair < 0 or element.last >= 0 or element.token.name not in _PREFORMATTED:
            return 0
        return 1 if element.token.kind == "open" else -1

    def _tag(self, element: _Element) -> None:
        kind = element.token.kind if element.role == "inline" else "point"
        assert kind in ("open", "close", "point")
        self._tags.append(Tag(kind, self._length, element.token.begin, element.token.end, element.pair))

    def _keep(self, elements: Sequence[_Element], first: int) -> None:
        """Keep an element as a whole: as an item that shows its text, or as a point if it has none."""
        begin, end = elements[first].token.begin, elements[elements[first].last].token.end
        inner = _Reader(self.source, self.options)
        for element in elements[first : elements[first].last]:
            if element.role == "text":
                inner._read_text(element.token.begin, element.token.end)
        shown = without_invisible("".join(inner._text)).strip()
        if not shown:
            self._tags.append(Tag("point", self._length, begin, end))
            return
        if len(shown) > _LONGEST_KEPT or OBJECT in shown or not has_letters(shown):
            shown = OBJECT
        at = self._length
        self._add(shown, [begin] * len(shown), [end] * len(shown))
        self._kept.append(Item(at, self._length, "element", shown, self.source[begin:end]))

    def _read_text(self, begin: int, end: int) -> None:
        for match in _TEXT.finditer(self.source, begin, end):
            piece, start, stop = match[0], match.start(), match.end()
            if piece[0] == "&" and len(piece) > 1:
                self._read_entity(piece, start, stop)
            elif piece.isspace() and not self._keeps_space():
                self._read_space(piece, start)
            else:
                self._add(piece, range(start, stop), range(start + 1, stop + 1))

    def _keeps_space(self) -> bool:
        return self.preformatted > 0 or self.options.format == "xml"

    def _read_space(self, piece: str, start: int) -> None:
        """HTML collapses spaces; non-breaking ones count as letters."""
        for part in re.finditer(r"[ \t\n\r\f]+|[^ \t\n\r\f]+", piece):
            first, last = start + part.start(), start + part.end()
            if part[0][0] in " \t\n\r\f":
                self._add(" ", [first], [last])
            else:
                self._add(part[0], range(first, last), range(first + 1, last + 1))

    def _read_entity(self, piece: str, start: int, stop: int) -> None:
        decoded = self._decode(piece)
        if decoded is None:
            if piece.endswith(";"):
                self._kept.append(Item(self._length, self._length + len(piece), "placeholder", piece, piece))
            self._add(piece, range(start, stop), range(start + 1, stop + 1))
        else:
            self._add(decoded, [start] * len(decoded), [stop] * len(decoded))

    def _decode(self, entity: str) -> str | None:
        """The characters of an entity; None if it is unknown or could not be written again."""
        name = entity[1:].removesuffix(";")
        if name.startswith("#"):
            decoded = html.unescape(entity)
            usable = is_invisible(decoded) or (len(decoded) == 1 and (decoded.isprintable() or decoded.isspace()))
            return decoded if usable else None
        named = html5.get(entity[1:])
        if self.options.format == "xml" and not (named and is_invisible(named)):
            return _XML_NAMES.get(name) if entity.endswith(";") else None
        return named

    def _add(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> None:
        self._text.append(text)
        self._length += len(text)
        self._starts.extend(starts)
        self._ends.extend(ends)
