"""TMX: units that lack the target language get it; everything else stays."""

from collections.abc import Iterator

from fmalloc_runtime.files.document import Document, FileFormatError, Unit, Wanted, kept_units
from fmalloc_runtime.files.elements import Element, parse
from fmalloc_runtime.files.encoding import decoded_xml
from fmalloc_runtime.files.readers.xliff import content, filled, space_before, unit
from fmalloc_shared.languages import short_code

_LANGUAGES = ("xml:lang", "lang")


def read(data: bytes, where: str, wanted: Wanted) -> Document:
    """A translation memory; FileFormatError if none of its units is in the bundles' source language."""
    text, encode = decoded_xml(data, where)
    root = parse(text, where)
    if root.name != "tmx":
        raise FileFormatError(f"{where}: <{root.tag[:40]}>: expected <tmx>")
    units = [element for element in root.walk() if element.name == "tu"]
    languages = {_language(variant) for unit_ in units for variant in unit_.children if variant.name == "tuv"}
    if units and short_code(wanted.languages.source) not in languages:
        found = ", ".join(sorted(languages)[:10])
        source = short_code(wanted.languages.source)
        raise FileFormatError(f"{where}: no unit is in the source language, {source}: found {found or 'none'}")
    return Document(text, kept_units(list(_units(units, text, wanted)), wanted.limits, where), encode)


def _units(units: list[Element], text: str, wanted: Wanted) -> Iterator[Unit]:
    for element in units:
        variants = [child for child in element.children if child.name == "tuv"]
        source = _variant(variants, wanted.languages.source)
        target = _variant(variants, wanted.languages.target)
        segment = source.child("seg") if source is not None else None
        if source is None or segment is None:
            continue
        goal = target.child("seg") if target is not None else None
        if goal is not None:
            if wanted.again or not goal.text.strip():
                opening, closing = filled(goal, text, "\0").split("\0")
                yield unit(content(segment, text), goal.begin, goal.end, (opening, closing))
        elif target is None:
            language = next((name for name in _LANGUAGES if source.get(name)), _LANGUAGES[0])
            space = space_before(source, text)
            inner = space_before(segment, text)
            opening = f'{space}<{source.tag} {language}="{short_code(wanted.languages.target)}">{inner}<{segment.tag}>'
            closing = f"</{segment.tag}>{space if inner else ''}</{source.tag}>"
            yield unit(content(segment, text), source.end, source.end, (opening, closing))


def _variant(variants: list[Element], language: str) -> Element | None:
    return next((variant for variant in variants if _language(variant) == short_code(language)), None)


def _language(variant: Element) -> str:
    return short_code(next((variant.get(name) for name in _LANGUAGES if variant.get(name)), ""))
