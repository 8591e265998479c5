"""Translate a stream of bytes: lines in chunks, or an HTML or XML document as a whole."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import BinaryIO

from fmalloc_runtime.live.snapshot import Snapshot
from fmalloc_runtime.routing.router import AUTO, Route
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared.errors import FmallocError

_CHUNK_LINES = 256


def translate_stream(
    snapshot: Snapshot,
    source: BinaryIO,
    output: BinaryIO,
    domain: str,
    options: TextOptions,
    show: Callable[[Route], None],
    *,
    needs_editing: bool = False,
) -> None:
    """Translate UTF-8 bytes; `show` is called with the route before anything is written.

    Lines for a named domain are read and written 256 at a time; with auto, all are read first. With `needs_editing`
    each line of text begins with that estimate and a tab. FmallocError names the line that is not UTF-8, or the bundle
    that has no estimate.
    """
    if options.format != "text":
        text = "".join(line + end.decode() for line, end in _read_lines(source))
        (translation,), route = snapshot.translate([text], domain, options)
        show(route)
        output.write(translation.text.encode())
        output.flush()
        return
    lines = _read_lines(source)
    if domain == AUTO:
        everything = list(lines)
        route = snapshot.router.route([line for line, _ in everything])
        lines = iter(everything)
    else:
        route = snapshot.router.route([], domain)
    show(route)
    if needs_editing and snapshot.bundles[route.domain].manifest.confidence is None:
        raise FmallocError(
            f"--needs-editing: bundle {route.bundle} has no estimate: export {route.domain} again; what that prints "
            "says why if there is none"
        )
    options = replace(options, splitting="lines")
    while chunk := list(islice(lines, _CHUNK_LINES)):
        translations, _ = snapshot.translate([line for line, _ in chunk], route.domain, options)
        for translation, (_, end) in zip(translations, chunk, strict=True):
            doubt = f"{_shown(translation.needs_editing)}\t" if needs_editing else ""
            output.write(f"{doubt}{translation.text}".encode() + end)
        output.flush()


def _shown(estimate: float | None) -> str:
    """Nothing for a line where there was nothing to translate."""
    return "" if estimate is None else f"{estimate:.3f}"


def _read_lines(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Lines and their ends; FmallocError with the line number if one is not UTF-8."""
    for number, raw in enumerate(file, start=1):
        content = raw.rstrip(b"\r\n")
        try:
            line = content.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            name = getattr(file, "name", "<stdin>")
            raise FmallocError(
                f"{name}:{number}: byte 0x{content[error.start]:02x} at column {error.start + 1} is not UTF-8: "
                "convert the input to UTF-8 first"
            ) from error
        yield line, raw[len(content) :]
