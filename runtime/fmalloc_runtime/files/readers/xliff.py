"""XLIFF 1.x and 2.x: targets are filled; sources, notes, states and everything else stay."""

from collections.abc import Iterator
from itertools import chain

from fmalloc_runtime.files.document import Document, Edit, FileFormatError, Unit, Wanted, kept_units
from fmalloc_runtime.files.elements import Element, escaped, parse
from fmalloc_runtime.files.encoding import decoded_xml
from fmalloc_runtime.files.inline import Piece, joined, marked, tagged
from fmalloc_shared.languages import short_code

# Elements around text; all others stand for native code, whatever is in them.
_PAIRS = frozenset({"g", "mrk", "pc", "hi"})
# Codes that are one half of a pair: what they do, and the attributes that name the pair, in order of precedence.
_HALVES: dict[str, tuple[str, tuple[str, ...]]] = {
    "bx": ("open", ("rid", "id")),
    "ex": ("close", ("rid", "id")),
    "bpt": ("open", ("rid", "i", "id")),
    "ept": ("close", ("rid", "i", "id")),
    "sc": ("open", ("id",)),
    "ec": ("close", ("startRef", "id")),
    "sm": ("open", ("id",)),
    "em": ("close", ("startRef",)),
}
# States of a target that nobody has translated yet, and of one that nobody wants changed.
_INITIAL = frozenset({"new", "needs-translation", "initial"})
_FINAL = frozenset({"final", "signed-off"})


def read(data: bytes, where: str, wanted: Wanted) -> Document:
    """An XLIFF file; its languages must be those of the bundles."""
    text, encode = decoded_xml(data, where)
    root = parse(text, where)
    version = root.get("version")
    if root.name != "xliff" or version.partition(".")[0] not in ("1", "2"):
        raise FileFormatError(
            f"{where}: <{root.tag[:40]} version={version[:20]!r}>: expected <xliff> of version 1 or 2"
        )
    edits: tuple[Edit, ...] = ()
    if version.startswith("1"):
        units = _units_1(root, text, where, wanted)
    else:
        wanted.check(root.get("srcLang"), "source", where)
        wanted.check(root.get("trgLang"), "target", where)
        if not root.get("trgLang"):  # which a file with targets has to have
            at = root.begin + 1 + len(root.tag)
            edits = (Edit(at, at, f' trgLang="{short_code(wanted.languages.target)}"'),)
        units = _units_2(root, text, wanted)
    return Document(text, kept_units(list(units), wanted.limits, where), encode, edits)


def content(element: Element, text: str) -> list[Piece]:
    """What is in a source or segment, as text and inline codes."""
    found: list[Piece] = []
    for node in element.nodes:
        if isinstance(node, str):
            found.extend(tagged(node, escaped))
        elif isinstance(node, tuple):
            found.append(Piece("point", node[0]))
        else:
            found.extend(_code(node, text))
    return found


def filled(element: Element, text: str, written: str) -> str:
    """An element with other content; its attributes stay."""
    opening = text[element.begin : element.first]
    if opening.endswith("/>"):
        opening = f"{opening[:-2].rstrip()}>"
    return f"{opening}{written}</{element.tag}>"


def unit(pieces: list[Piece], begin: int, end: int, around: tuple[str, str]) -> Unit:
    """The unit of pieces whose translation is written from `begin` to `end`, between what is `around`."""
    found = marked(pieces)

    def write(translation: str) -> str | None:
        back = found.pieces(translation)
        return None if back is None else f"{around[0]}{joined(back, escaped)}{around[1]}"

    return Unit(found.source, begin, end, write)


def placed(pieces: list[Piece], source: Element, target: Element | None, text: str) -> Unit:
    """The unit that fills `target`, or that puts one behind `source`, which looks like what is before it."""
    if target is not None:
        opening, closing = filled(target, text, "\0").split("\0")
        return unit(pieces, target.begin, target.end, (opening, closing))
    tag = f"{source.tag[: -len(source.name)]}target" if source.name in ("source", "seg-source") else source.tag
    return unit(pieces, source.end, source.end, (f"{space_before(source, text)}<{tag}>", f"</{tag}>"))


def space_before(element: Element, text: str) -> str:
    """The line end and indentation before an element, if it begins a line."""
    begin = element.begin
    while begin and text[begin - 1] in " \t":
        begin -= 1
    if begin and text[begin - 1] == "\n":
        begin -= 2 if text[begin - 2 : begin] == "\r\n" else 1
        return text[begin : element.begin]
    return ""


def _units_1(root: Element, text: str, where: str, wanted: Wanted) -> Iterator[Unit]:
    for file in (element for element in root.children if element.name == "file"):
        place = f"{where}:{file.line}"
        wanted.check(file.get("source-language"), "source", place)
        wanted.check(file.get("target-language"), "target", place)
        for trans in (element for element in file.walk() if element.name == "trans-unit"):
            source, target = trans.child("source"), trans.child("target")
            if source is None or trans.inherited("translate") == "no" or trans.get("approved") == "yes":
                continue
            if _is_open(target, target.get("state") if target is not None else "", wanted):
                segments = trans.child("seg-source")
                yield placed(content(segments or source, text), segments or source, target, text)


def _units_2(root: Element, text: str, wanted: Wanted) -> Iterator[Unit]:
    for segment in (element for element in root.walk() if element.name == "segment"):
        source, target = segment.child("source"), segment.child("target")
        if (
            source is not None
            and segment.inherited("translate") != "no"
            and _is_open(target, segment.get("state"), wanted)
        ):
            yield placed(content(source, text), source, target, text)


def _is_open(target: Element | None, state: str, wanted: Wanted) -> bool:
    """Whether a target is to be translated."""
    if state in _FINAL and target is not None and target.text.strip():
        return False
    return wanted.again or target is None or not target.text.strip() or state in _INITIAL


def _code(element: Element, text: str) -> list[Piece]:
    raw = text[element.begin : element.end]
    if element.name not in _PAIRS:
        kind, names = _HALVES.get(element.name, ("point", ()))
        name = next((element.get(name) for name in names if element.get(name)), None)
        if kind == "point" or name is None:
            return [Piece("point", raw)]
        family = "sm" if element.name in ("sm", "em") else "sc"
        return [Piece("open" if kind == "open" else "close", raw, (family, name))]
    if element.get("translate") == "no" or element.get("mtype") == "protected":
        return [Piece("kept", raw, shown=element.text)]
    if element.first == element.end:
        return [Piece("point", raw)]
    segment = element.get("mtype") == "seg"
    opening, closing = text[element.begin : element.first], text[element.last : element.end]
    return list(
        chain(
            [Piece("open", opening, element, segment=segment)],
            content(element, text),
            [Piece("close", closing, element, segment=segment)],
        )
    )
