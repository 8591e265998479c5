"""Translation memories (TMX 1.4), read as a stream: at most a piece of the file is in memory."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn
from xml.parsers import expat

from fmalloc.corpus.formats.files import opened
from fmalloc.corpus.formats.markup import BREAK, BREAKS, CODES, one_line
from fmalloc.corpus.report import Place, Tally
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair, short_code

_PIECE = 1 << 20
_NO_ELEMENTS = expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]
_NO_FIT = 3
# Where the standard, in every version, has the elements that are read.
_PARENTS = {"tu": "body", "tuv": "tu", "seg": "tuv"}


def tmx_rows(path: Path, languages: LanguagePair, tally: Tally) -> Iterator[tuple[int, str, str]]:
    """Line, source and target of every unit; units without both languages are counted as dropped.

    Of several variants in a language, the exact code comes first, then the code without a region, then the first one.

    Raises:
        FmallocError: not well-formed, not TMX, a unit lacks what every version of the standard asks for, declares
            entities (each with its line), or no unit has both languages.
    """
    reader = _Reader(path)
    source_language = _Language(languages.source, languages.target)
    target_language = _Language(languages.target, languages.source)
    chosen: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    seen: Counter[str] = Counter()
    for unit in reader.units():
        seen.update({variant.language for variant in unit.variants})
        source, target = source_language.best(unit.variants), target_language.best(unit.variants)
        if source is None or target is None:
            tally.read += 1
            tally.drop(f"not in both {languages.source} and {languages.target}", Place(path, unit.line))
            continue
        chosen[0][source.language] += 1
        chosen[1][target.language] += 1
        if source.codes or target.codes:
            tally.clean("inline codes taken out", Place(path, unit.line))
        yield unit.line, source.text, target.text
    if not chosen[0]:
        found = ", ".join(f"{language or 'none named'} ({count})" for language, count in seen.most_common())
        raise FmallocError(
            f"{path}: no unit has both {languages.source} and {languages.target}; "
            + (f"its languages, with their units: {found}" if found else "no unit has text")
        )
    for code, count in zip(languages, chosen, strict=True):
        if len(count) > 1:
            variants = ", ".join(f"{language} ({number})" for language, number in count.most_common())
            tally.warnings.append(f"{path}: {code} occurs in several variants, all of which were used: {variants}")


class _Variant(NamedTuple):
    language: str
    text: str
    codes: bool
    """Whether elements stood inside the text."""


class _Language:
    """How well the language codes of a file match the requested one."""

    def __init__(self, code: str, other: str) -> None:
        self._code, self._language = _folded(code), short_code(code)
        self._exact_only = self._language == short_code(other)
        self._ranks: dict[str, int] = {}

    def best(self, variants: Sequence[_Variant]) -> _Variant | None:
        """The first of the best-matching variants, or None."""
        best, best_rank = None, _NO_FIT
        for variant in variants:
            if (rank := self._rank(variant.language)) < best_rank:
                best, best_rank = variant, rank
        return best

    def _rank(self, code: str) -> int:
        if code not in self._ranks:
            self._ranks[code] = self._measure(code)
        return self._ranks[code]

    def _measure(self, code: str) -> int:
        if _folded(code) == self._code:
            return 0
        if self._exact_only or short_code(code) != self._language:
            return _NO_FIT
        return 1 if _folded(code) == self._language else 2


def _folded(code: str) -> str:
    """`de-at` for `de_AT` and `ger-AT`: one spelling of the language and of what follows it."""
    language, *rest = code.lower().replace("_", "-").split("-", 1)
    return "-".join((short_code(language), *rest))


class _Unit(NamedTuple):
    line: int
    variants: list[_Variant]


class _Reader:
    """Handlers of an expat parser, which gather units."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._units: list[_Unit] = []
        self._open: list[str] = []
        self._unit, self._language = _Unit(0, []), ""
        self._line = 0
        self._text: str | None = None
        self._pieces: list[str] = []
        self._codes = False
        self._depth_of_code = 0
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        # An entity can blow a small file up or read another file; TMX needs none.
        parser.EntityDeclHandler = self._declares_entity
        parser.SkippedEntityHandler = self._unknown_entity

    def units(self) -> Iterator[_Unit]:
        """Every <tu>."""
        with opened(self._path) as file:
            while True:
                piece = file.read(_PIECE)
                try:
                    self._parser.Parse(piece, not piece)
                except expat.ExpatError as error:
                    reason = "it ends too early" if error.code == _NO_ELEMENTS else expat.ErrorString(error.code)
                    raise FmallocError(f"{self._path}:{error.lineno}: malformed TMX: {reason}") from error
                except (LookupError, ValueError) as error:  # of the encoding that the first line names
                    raise FmallocError(f"{self._path}:1: {error}; convert the file to UTF-8") from error
                yield from self._units
                self._units.clear()
                if not piece:
                    return

    def _fail(self, reason: str, line: int | None = None) -> NoReturn:
        raise FmallocError(f"{self._path}:{line or self._parser.CurrentLineNumber}: malformed TMX: {reason}")

    def _declares_entity(self, name: str, *_: object) -> None:
        self._fail(f"it declares the entity {name!r}, which is not allowed; write the text itself")

    def _unknown_entity(self, name: str, *_: object) -> None:
        self._fail(f"unknown entity &{name}; write the character itself")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._open and name != "tmx":
            self._fail(f"the root element is <{name}>, expected <tmx>")
        if name in _PARENTS and self._open[-1:] != [_PARENTS[name]]:
            self._fail(f"<{name}> inside <{self._open[-1]}>, expected inside <{_PARENTS[name]}>")
        if self._parser.CharacterDataHandler is not None:
            self._start_inline(name, attributes)
        elif name == "seg":
            self._start_segment()
        elif name == "tuv":
            self._start_variant(attributes)
        elif name == "tu":
            self._unit = _Unit(self._parser.CurrentLineNumber, [])
        self._open.append(name)

    def _start_variant(self, attributes: Mapping[str, str]) -> None:
        self._language = (attributes.get("xml:lang") or attributes.get("lang") or "").strip()
        if not self._language:
            self._fail("<tuv> without its language; expected the attribute xml:lang (before TMX 1.4: lang)")
        self._line, self._text = self._parser.CurrentLineNumber, None

    def _start_segment(self) -> None:
        if self._text is not None:
            self._fail("a second <seg> in one <tuv>; expected one")
        self._pieces, self._codes = [], False
        self._parser.CharacterDataHandler = self._characters

    def _start_inline(self, name: str, attributes: Mapping[str, str]) -> None:
        self._codes = True
        self._depth_of_code += name in CODES
        # XLIFF's <mrk> marks segments, which are sentences, but also terms, which are words or parts of them.
        if name in BREAKS or (name == "mrk" and attributes.get("mtype") == "seg"):
            self._pieces.append(BREAK)

    def _end(self, name: str) -> None:
        self._open.pop()
        if name == "seg":
            self._parser.CharacterDataHandler = None
            self._text = one_line("".join(self._pieces))
        elif self._parser.CharacterDataHandler is not None:
            self._depth_of_code -= name in CODES
        elif name == "tuv":
            if self._text is None:
                self._fail("<tuv> without text; expected a <seg> in it", self._line)
            self._unit.variants.append(_Variant(self._language, self._text, self._codes))
        elif name == "tu":
            if not self._unit.variants:
                self._fail("<tu> without text; expected a <tuv> for each language in it", self._unit.line)
            self._units.append(self._unit)

    def _characters(self, text: str) -> None:
        if not self._depth_of_code:
            self._pieces.append(text)
