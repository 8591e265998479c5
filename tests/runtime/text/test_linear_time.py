"""Reading takes time linear in the length of any text: each construct, broken and repeated, in each format."""

from collections.abc import Callable, Iterator

import pytest

from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.document.markup import blocks_of
from fmalloc_runtime.text.document.sentences import sentences
from fmalloc_runtime.text.items import find_items, invents
from fmalloc_runtime.text.pipeline import plain_lines, work_on
from fmalloc_runtime.text.signs import find_signs
from fmalloc_runtime.text.syntaxes import SYNTAXES
from fmalloc_runtime.text.translation import Format, TextOptions, advance
from tests.support.linear_time import GROWTH, SECONDS, excess

Stage = Callable[[str], object]

LONGEST = 200_000

MARKUP = (
    *(
        "<",
        "</",
        "<a",
        "<a ",
        "<a b='",
        '<a b="',
        "<a b=''>",
        "</a ",
        "</a>",
        "<b>",
        "<b>a</b>",
        "<b>a ",
        "<p>a",
        "<br>",
    ),
    *(
        "<x/>",
        "<!",
        "<!a",
        "<!a [",
        "<!a [>",
        "<!--",
        "<!-- a -->",
        "<![CDATA[",
        "<![CDATA[a]]>",
        "<?",
        "<?a ?>",
        "]]>",
    ),
    *("<script>", "</script ", "<style>", "<textarea>", "<xmp>", "</xmp ", "<xmp></xmp ", "<pre>a", "<code>a", "<svg>"),
    *(
        "<p translate=no>",
        " class='",
        ' class="',
        "<p class=' notranslate",
        "='",
        '="',
        "&",
        "&a",
        "&#1",
        "&amp;",
        "&shy;",
    ),
)
PROSE = (
    *(
        "a",
        "a ",
        "a.",
        "a. ",
        "a, ",
        "a\n",
        "\r\n",
        " ",
        "\t",
        "1",
        "1.",
        "1 ",
        "1:",
        "@",
        "a@",
        "a@b.",
        "/",
        "a/",
        "../",
    ),
    *("~/", "C:\\a\\", "http://", "www.", "a://", "+", "_", "-", "'", '"', "„a“ ", "(a) ", "?!", "…", "Dr. ", "z. B. "),
    *(
        "é",
        "e\u0301",
        "\u0301",
        "日本。",
        "。",
        "a।",
        "Ж",
        "Ж ",
        "→",
        "😀",
        "👩‍💻",
        "🇩",
        "🏴\U000e0067",
        "\u200d",
        "a\u00ad",
    ),
    *("\u200b", "\u2068", "\u2068a\u2069", "\u2069", "\u2028", "\u00a0", "\ud800", "\x00", "5 % ", "1.2.3 "),
)
PLACEHOLDERS = tuple(
    dict.fromkeys(
        piece
        for syntax in SYNTAXES
        for example in syntax.examples[:3]
        for piece in (example, f"{example} ", example[:-1], example[: len(example) // 2])
        if piece
    )
)
# What was slow once, by the stage that was.
KNOWN = {
    "html": [("<xmp>", "</xmp ", ""), ("", "<!a [", ">"), ("", "<p>a", "")],
    "items": [("", "{a} ", "")],
    "signs": [("", "e\u0301", "")],
    "sentences de": [("", "a. ", "")],
}
TAILS = ("", ">", "]>", "'")


def texts(units: tuple[str, ...], tails: tuple[str, ...] = ("",)) -> Iterator[tuple[str, str, str]]:
    """A beginning, what is repeated, and an end."""
    yield from (("", unit, tail) for unit in units for tail in tails)
    yield from (text for known in KNOWN.values() for text in known)


def stages(model: Translator) -> dict[str, tuple[Stage, list[tuple[str, str, str]]]]:
    """Each loop over a client's text, and the texts that it is given."""
    found: dict[str, tuple[Stage, list[tuple[str, str, str]]]] = {
        kind: (lambda text, kind=kind: blocks_of(text, TextOptions(format=kind)), [*texts(MARKUP, TAILS)])  # type: ignore[misc]
        for kind in ("html", "xml")
    }
    found["sections"] = (lambda text: plain_lines([text], TextOptions(format="xml")), [*texts(MARKUP)])
    found["items"] = (find_items, [*texts(PROSE + PLACEHOLDERS, ("", "}"))])
    found["invents"] = (lambda text: invents("", text), [*texts(PLACEHOLDERS)])
    found["signs"] = (lambda text: find_signs(text, model.tokenizer.knows, (), ()), [*texts(PROSE)])
    for language in ("de", "ja", "hi"):
        found[f"sentences {language}"] = (
            lambda text, code=language: sentences(text, code, "sentences"),
            [*texts(PROSE)],
        )  # type: ignore[misc]
    return found


def problem(
    stage: Stage, text: tuple[str, str, str], most: float = SECONDS, halvings: int = 3, growth: float = GROWTH
) -> str:
    """What is wrong with the time that a stage takes on a text: a beginning, what is repeated, an end."""
    head, unit, tail = text

    def made(length: int) -> str:
        room = length - len(head) - len(tail)
        return head + (unit * (room // len(unit) + 1))[:room] + tail

    found = excess(made, stage, LONGEST, most, halvings, growth)
    return f"{text}: {found}" if found else ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["html", "xml", "sections", "items", "invents", "signs", "sentences de", "sentences ja", "sentences hi"]
)
def test_every_construct_takes_linear_time(name: str, well_read: Translator) -> None:
    stage, given = stages(well_read)[name]
    assert [found for text in given if (found := problem(stage, text))] == []


@pytest.mark.parametrize("name", KNOWN)
def test_what_was_slow_once_takes_linear_time(name: str, well_read: Translator) -> None:
    stage, _ = stages(well_read)[name]
    assert [found for text in KNOWN[name] if (found := problem(stage, text))] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "html", "xml"])
def test_sentences_for_the_model_are_found_in_linear_time(kind: Format, well_read: Translator) -> None:
    """All of it together, tokens too, which take longer, and more so where they leave the processor's cache."""

    def read(text: str) -> None:
        advance(work_on([text], TextOptions(format=kind), well_read))

    given = texts((*MARKUP[::3], *PROSE[::3], *PLACEHOLDERS[::9]))
    assert [found for text in given if (found := problem(read, text, most=8.0, halvings=2, growth=2.8))] == []
