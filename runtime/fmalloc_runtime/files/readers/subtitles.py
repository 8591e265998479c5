"""Subtitles, SRT and WebVTT: texts of cues are translated, in as many lines; times, numbers and notes stay."""

import html
import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from fmalloc_runtime.files.document import Document, FileFormatError, Unit, Wanted, kept_units
from fmalloc_runtime.files.encoding import decoded
from fmalloc_runtime.files.inline import Marked, marked, pieces_of, strung
from fmalloc_runtime.files.wrapping import wrapped

_CLOCK = r"(?:\d{1,4}:)?\d{1,2}:\d{2}[.,]\d{1,3}"
_TIMES = re.compile(rf"[ \t]*{_CLOCK}[ \t]*-->[ \t]*{_CLOCK}[^\n]*")
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\n|\r|\Z)")
# Positions and styles of SubStation, which players read in SRT as well; times and speakers inside a cue of WebVTT.
_STYLE = re.compile(r"\{\\[^{}\n]{0,200}\}|<[\d:.]{5,20}>|<(?:v|c|lang|[biu])\b[^<>\n]{0,200}>")
_SPEAKER = re.compile(r"\s*(?:<[^>]*>\s*)*[-–—]\s*")


def read_srt(data: bytes, where: str, wanted: Wanted) -> Document:
    """SubRip."""
    text, encode = decoded(data, where)
    return Document(text, kept_units(list(_units(text, where, vtt=False)), wanted.limits, where), encode)


def read_vtt(data: bytes, where: str, wanted: Wanted) -> Document:
    """WebVTT."""
    text, encode = decoded(data, where)
    if not re.match(r"WEBVTT(?:[ \t\r\n]|\Z)", text):
        raise FileFormatError(f"{where}:1: expected WEBVTT, found {text[:20]!r}")
    return Document(text, kept_units(list(_units(text, where, vtt=True)), wanted.limits, where), encode)


def _units(text: str, where: str, *, vtt: bool) -> Iterator[Unit]:
    cue: list[tuple[int, int]] = []
    inside, seen, filled = False, False, False
    for match in _LINE.finditer(text):
        blank = not match[1].strip()
        filled |= not blank
        times = _TIMES.fullmatch(match[1]) is not None
        if inside and not blank and not times:
            cue.append(match.span(1))
            continue
        if times and cue and text[slice(*cue[-1])].strip().isdigit():
            cue.pop()  # the number of the next cue, without a blank line before it
        yield from _cue(text, cue, vtt=vtt)
        cue, inside = [], times
        seen |= times
    yield from _cue(text, cue, vtt=vtt)
    if filled and not seen and not vtt:
        raise FileFormatError(f"{where}: no line has times as in 00:00:01,000 --> 00:00:02,000")


def _cue(text: str, lines: list[tuple[int, int]], *, vtt: bool) -> Iterator[Unit]:
    """A cue as one text, or as several where each line is what somebody else says."""
    groups: list[list[tuple[int, int]]] = []
    for span in lines:
        if groups and not _SPEAKER.match(text, *span):
            groups[-1].append(span)
        else:
            groups.append([span])
    for group in groups:
        begin, end = group[0][0], group[-1][1]
        ends = [text[before[1] : after[0]] for before, after in pairwise(group)]
        raw = " ".join(text[slice(*span)] for span in group)
        found = marked(pieces_of(raw, _STYLE, html.unescape if vtt else str))
        lengths = [end - begin for begin, end in group]
        yield Unit(found.source, begin, end, partial(_write, found, raw, lengths, ends, vtt))


def _tags(text: str) -> list[str]:
    return sorted(piece.raw for piece in pieces_of(text) if piece.kind != "text")


def _write(found: Marked, raw: str, lengths: list[int], ends: list[str], vtt: bool, translation: str) -> str | None:
    translation = translation.replace("\r", " ").replace("\n", " ")
    pieces = found.pieces(translation)
    if pieces is None:
        return None
    if not vtt:  # where nothing can be escaped
        written = strung(found, translation, _STYLE)
        if written is None or _tags(written) != _tags(raw):
            return None
    lines = [line for line in wrapped(pieces, lengths, _escaped if vtt else _safe) if line.strip()]
    return "".join(line + end for line, end in zip(lines, [*ends[: len(lines) - 1], ""], strict=True))


def _safe(text: str) -> str:
    return text.replace("-->", "→")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
