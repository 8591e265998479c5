"""XML as a tree that knows where each element is in the text; without entities, external parts or deep nesting."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from fmalloc_runtime.files.document import FileFormatError

# An opening tag of well-formed XML.
_TAG = re.compile(r"""<[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")
_DEEPEST = 200
_MOST = 2_000_000


@dataclass(eq=False)
class Element:
    """An element at characters `begin` to `end`, its content at `first` to `last`; `name` is without prefix.

    `nodes`: its content in order: text as a reader sees it, elements, and comments and instructions as they are written
    (a tuple of one string).
    """

    name: str
    tag: str
    attributes: dict[str, str]
    line: int
    begin: int
    first: int
    parent: "Element | None"
    last: int = 0
    end: int = 0
    nodes: "list[str | tuple[str] | Element]" = field(default_factory=list)

    @property
    def children(self) -> "list[Element]":
        """The elements in it."""
        return [node for node in self.nodes if isinstance(node, Element)]

    @property
    def text(self) -> str:
        """What a reader sees of it and of all that is in it."""
        parts = [node if isinstance(node, str) else node.text for node in self.nodes if not isinstance(node, tuple)]
        return "".join(parts)

    def child(self, name: str) -> "Element | None":
        """The first child of this name."""
        return next((child for child in self.children if child.name == name), None)

    def get(self, name: str) -> str:
        """An attribute, '' if it is not there."""
        return self.attributes.get(name, "")

    def inherited(self, name: str) -> str:
        """An attribute of this element or the nearest one around it that has it."""
        element: Element | None = self
        while element is not None and name not in element.attributes:
            element = element.parent
        return element.attributes[name] if element is not None else ""

    def walk(self) -> "Iterator[Element]":
        """This element and all in it, in order."""
        waiting = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting.extend(reversed(element.children))


def parse(text: str, where: str) -> Element:
    """The root element of an XML text; FileFormatError names the line that is wrong."""
    return _Reader(text, where).root


def escaped(text: str) -> str:
    """Text as it is written between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class _Reader:
    def __init__(self, text: str, where: str) -> None:
        self._text, self._where = text, where
        # What is declared is how the bytes were, which are characters by now.
        self._data = text.encode("utf-8", "surrogatepass")
        self._bytes = self._characters = self._count = 0
        self._opened: list[Element] = []
        self._root: Element | None = None
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.buffer_size = 2**20
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._read
        parser.CommentHandler = lambda _: self._aside("-->")
        parser.ProcessingInstructionHandler = lambda *_: self._aside("?>")
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._entity
        parser.UseForeignDTD(False)
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self._parser = parser
        try:
            parser.Parse(self._data, True)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            raise FileFormatError(f"{where}:{error.lineno}: is not well-formed XML: {what}") from error

    @property
    def root(self) -> Element:
        """The outermost element."""
        assert self._root is not None
        return self._root

    def _at(self) -> int:
        """The character where the parser is; it only goes forward."""
        index = self._parser.CurrentByteIndex
        if index > self._bytes:
            self._characters += len(self._data[self._bytes : index].decode("utf-8", "surrogatepass"))
            self._bytes = index
        return self._characters

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        begin = self._at()
        self._count += 1
        if len(self._opened) >= _DEEPEST or self._count > _MOST:
            self._refuse(f"more than {_DEEPEST} elements in each other or {_MOST} in all are not read")
        match = _TAG.match(self._text, begin)
        if match is None:
            self._refuse(f"element {tag!r} is not where the parser says")
        parent = self._opened[-1] if self._opened else None
        name = tag.rpartition(":")[2]
        element = Element(name, tag, attributes, self._parser.CurrentLineNumber, begin, match.end(), parent)
        if parent is None:
            self._root = element
        else:
            parent.nodes.append(element)
        self._opened.append(element)

    def _end(self, _tag: str) -> None:
        element = self._opened.pop()
        if self._text[element.first - 2] == "/":
            element.last = element.end = element.first
            return
        element.last = self._at()
        element.end = self._text.index(">", element.last) + 1

    def _read(self, text: str) -> None:
        nodes = self._opened[-1].nodes
        if nodes and isinstance(nodes[-1], str):
            nodes[-1] += text
        else:
            nodes.append(text)

    def _aside(self, end: str) -> None:
        if self._opened:
            begin = self._at()
            self._opened[-1].nodes.append((self._text[begin : self._text.index(end, begin) + len(end)],))

    def _entity(self, name: str, *_rest: object) -> None:
        self._refuse(f"entity {name!r}: XML with entities of its own is not read")

    def _refuse(self, why: str) -> NoReturn:
        raise FileFormatError(f"{self._where}:{self._parser.CurrentLineNumber}: {why}")
