"""HTML and XML as tokens with their positions; everything that is not markup is text."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Literal, NamedTuple

TokenKind = Literal["text", "open", "close", "single", "raw"]

_NAME = re.compile(r"[^\W\d][^\s/>\"'=<]*")
# Inside a tag, a quote opens a value only after an equals sign.
_SPECIAL = re.compile(r"=\s*([\"'])|([\"'>])")
_ENDS = {"<!--": "-->", "<![CDATA[": "]]>", "<?": ">", "<!": ">", "</": ">"}
_XML_ENDS = {**_ENDS, "<?": "?>"}
_RAW = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style", "textarea", "xmp")}


class Token(NamedTuple):
    """A piece of markup from character `begin` to before `end`.

    `single`: a comment, an instruction, a declaration or a self-closing element; `raw`: an element whose content is not
    markup, with that content. HTML names are in lower case.
    """

    kind: TokenKind
    begin: int
    end: int
    name: str = ""


def scan(text: str, html: bool) -> list[Token]:
    """Tokens that cover the text without gaps, in linear time."""
    scanner = _Scanner(text, html)
    tokens: list[Token] = []
    at = 0
    for token in scanner.tags():
        if token.begin > at:
            tokens.append(Token("text", at, token.begin))
        tokens.append(token)
        at = token.end
    if at < len(text):
        tokens.append(Token("text", at, len(text)))
    return tokens


class _Scanner:
    def __init__(self, text: str, html: bool) -> None:
        self._text = text
        self._html = html
        self._ends = _ENDS if html else _XML_ENDS
        # Where ends occur next, -1 for not at all: positions only grow, so that each is looked for once.
        self._next: dict[str | re.Pattern[str], int] = {}
        self._specials: list[int] = []
        self._closings: list[int] = []

    def tags(self) -> Iterator[Token]:
        at = self._text.find("<")
        while at >= 0:
            token = self._token(at)
            if token is not None:
                yield token
            at = self._text.find("<", at + 1 if token is None else token.end)

    def _token(self, at: int) -> Token | None:
        if self._text[at + 1 : at + 2] in ("!", "?", "/"):
            start, stop = next(item for item in self._ends.items() if self._text.startswith(item[0], at))
            return self._bounded(at, start, stop)
        if (match := _NAME.match(self._text, at + 1)) is None or (end := self._tag_end(match.end())) is None:
            return None
        name = self._name(match[0])
        if self._text[end - 2] == "/":
            return Token("single", at, end, name)
        if self._html and name in _RAW:
            return self._raw(at, end, name)
        return Token("open", at, end, name)

    def _bounded(self, at: int, start: str, end: str) -> Token | None:
        name = ""
        if start == "</":
            if (match := _NAME.match(self._text, at + 2)) is None:
                return None
            name = self._name(match[0])
        elif start == "<!":
            if not self._text[at + 2 : at + 3].isalpha():
                return None
            bracket = self._text.find("[", at, at + 500)
            if 0 <= bracket < self._find(">", at):
                end = "]>"  # a declaration with nested ones
        found = self._find(end, at + len(start))
        if found < 0:
            return None
        return Token("close" if name else "single", at, found + len(end), name)

    def _find(self, wanted: str | re.Pattern[str], at: int) -> int:
        """Where `wanted` begins next, -1 if nowhere; `at` never passes a place that an earlier call began after."""
        found = self._next.get(wanted, 0)
        if 0 <= found < at or wanted not in self._next:
            if isinstance(wanted, str):
                found = self._text.find(wanted, at)
            else:
                match = wanted.search(self._text, at)
                found = match.start() if match else -1
            self._next[wanted] = found
        return found

    def _raw(self, begin: int, end: int, name: str) -> Token:
        closing = self._find(_RAW[name], end)
        closed = self._text.find(">", closing) if closing >= 0 else -1
        if closed < 0:
            self._next[_RAW[name]] = -1
            return Token("open", begin, end, name)
        return Token("raw", begin, closed + 1, name)

    def _name(self, name: str) -> str:
        return name.lower() if self._html else name

    def _tag_end(self, at: int) -> int | None:
        """The end of the tag whose name ends at `at`, considering quoted values."""
        if not self._closings:
            self._find_closings()
        found = self._closings[bisect_left(self._specials, at)]
        return None if found < 0 else found

    def _find_closings(self) -> None:
        """For each special character: the end of a tag that is open, outside quotes, before it."""
        found = list(_SPECIAL.finditer(self._text))
        outside, double, single = -1, -1, -1
        closings = [outside]
        for match in reversed(found):
            opened, bare = match[1], match[2]
            quote = opened or bare
            if bare == ">":
                outside = match.end()
            else:
                before = outside
                if opened:
                    outside = double if opened == '"' else single
                if quote == '"':
                    double = before
                else:
                    single = before
            closings.append(outside)
        self._specials = [match.start() for match in found]
        self._closings = closings[::-1]
