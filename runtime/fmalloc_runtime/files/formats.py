"""The formats of files that are read, by the ends of their names."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath

from fmalloc_runtime.files.document import Document, FileFormatError, FileTooLargeError, Wanted

Reader = Callable[[bytes, str, Wanted], Document]


@dataclass(frozen=True)
class FileFormat:
    """A format. `reader`: a function of a module in readers/. `changed`: what is translated; `stays`: how exactly the
    rest stays. `packed`: not all of it is text; `share`: of the limit on text, what takes long to read.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: str
    changed: str
    stays: str = "byte for byte"
    media: str = "text/plain"
    packed: bool = False
    share: float = 1.0

    def read(self, data: bytes, where: str, wanted: Wanted) -> Document:
        """Read a file's content; FileFormatError or FileTooLargeError, with `where`, if it cannot be."""
        if len(data) > wanted.limits.size:
            raise FileTooLargeError(f"{where}: {len(data)} bytes, at most {wanted.limits.size} are read")
        if not self.packed:
            wanted.limits.check_text(len(data), where, self.share)
        module, _, function = self.reader.partition(":")
        reader: Reader = getattr(import_module(f"fmalloc_runtime.files.readers.{module}"), function)
        try:
            return reader(data, where, wanted)
        except RecursionError as error:
            raise FileFormatError(f"{where}: is nested too deeply") from error


FORMATS = (
    FileFormat(
        "XLIFF 1.x and 2.x",
        (".xliff", ".xlf", ".sdlxliff", ".mqxliff", ".mxliff"),
        "xliff:read",
        "empty or missing `target`, and those whose state is `new`, `needs-translation` or `initial`. Never with "
        '`translate="no"`, `approved="yes"` or a final state',
        "byte for byte; `trgLang` is added where XLIFF 2 asks for it",
        "application/xliff+xml",
    ),
    FileFormat(
        "PO, POT",
        (".po", ".pot"),
        "po:read",
        "empty `msgstr`, all plural forms by the header's rule: the form of the number 1 from `msgid`, the others from "
        "`msgid_plural`",
        media="text/x-gettext-translation",
    ),
    FileFormat(
        "TMX", (".tmx",), "tmx:read", "units with the source language and without the target's", media="text/xml"
    ),
    FileFormat("SRT", (".srt",), "subtitles:read_srt", "texts of cues, in as many lines", media="application/x-subrip"),
    FileFormat("WebVTT", (".vtt",), "subtitles:read_vtt", "the same", media="text/vtt"),
    FileFormat("HTML", (".html", ".htm", ".xhtml"), "text:read_html", "text, no attributes", media="text/html"),
    FileFormat(
        "Markdown",
        (".md", ".markdown"),
        "markdown:read",
        "paragraphs, headings, items, cells, texts of links; no code, no HTML blocks, no front matter",
        "byte for byte; paragraphs keep their number of lines",
        "text/markdown",
        share=0.2,
    ),
    FileFormat(
        "DOCX",
        (".docx",),
        "docx:read",
        "paragraphs of the text, headers, footers and notes; no comments, no deleted text",
        "parts byte for byte, packed anew; runs of a translated paragraph are written anew, with their formats",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        packed=True,
    ),
    FileFormat("plain text", (".txt",), "text:read_text", "all lines"),
    FileFormat(
        "JSON, ARB", (".json", ".arb"), "json:read", "all string values; nothing under keys with `@`",
        media="application/json",
    ),
    FileFormat(
        "Android strings",
        (".xml",),
        "strings:read_android",
        '`string` and `item`, but with `translatable="false"` and for references; quantities are those of the source',
        media="text/xml",
    ),
    FileFormat("Apple strings", (".strings",), "strings:read_apple", "all values"),
    FileFormat(
        "Apple stringsdict",
        (".stringsdict",),
        "strings:read_stringsdict",
        "texts of plural categories; categories are those of the source",
        media="text/xml",
    ),
)  # fmt: skip
_BY_SUFFIX = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}
SUFFIXES = tuple(_BY_SUFFIX)
"""The ends of names of files that are read."""
_ADVICE = {
    ".docm": "save it as .docx, without macros",
    ".dotm": "save it as .docx, without macros",
    ".doc": "save it as .docx",
    ".rtf": "save it as .docx",
    ".odt": "save it as .docx",
    ".pdf": "translate what it was made from",
}


def format_of(name: str) -> FileFormat:
    """The format of a file with this name; FileFormatError with those that are known if it is none."""
    suffix = PurePath(name).suffix.lower()
    if (found := _BY_SUFFIX.get(suffix)) is not None:
        return found
    known = ", ".join(SUFFIXES)
    raise FileFormatError(f"{name}: {_ADVICE.get(suffix, f'expected a name that ends in one of {known}')}")


def is_known(name: str) -> bool:
    """Whether files with this name are read."""
    return PurePath(name).suffix.lower() in _BY_SUFFIX
