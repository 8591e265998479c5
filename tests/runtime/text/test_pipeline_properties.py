"""Whatever the text and whatever the model says: markup, items and whitespace come out as they went in."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import Hypothesis, TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.document.markup import pairs
from fmalloc_runtime.text.document.scanner import scan
from fmalloc_runtime.text.items import find_items
from fmalloc_runtime.text.pipeline import plain_lines, work_on
from fmalloc_runtime.text.quantities import notation
from fmalloc_runtime.text.rendering.repair import Comparison, Said
from fmalloc_runtime.text.translation import Format, Found, SourceBatch, TextOptions, TextTranslation, drive
from tests.support.adversary import Adversary
from tests.support.bundles import CPU, SENTENCES, bundle_of
from tests.support.examples import many

WORDS = sorted({word for lines in SENTENCES.values() for line in lines for word in line.split()})
ITEMS = [
    "%s",
    "%1$s",
    "%(name)s",
    "%d",
    "{0}",
    "{name}",
    "${var}",
    "{{x}}",
    "http://a.de/?b=c",
    "a@b.de",
    "5",
    "1.000,50",
]
ITEMS += ["{n, plural, one {# Datei.} other {# Dateien. Ja}}", "%%"]
OPEN = ["<b>", "<i class='x'>", '<a href="a>b">', "<span>", '<x id="1">', "<p>", "<li>", "<code>", "<pre>"]
CLOSE = ["</b>", "</i>", "</a>", "</span>", "</x>", "</p>", "</li>", "</code>", "</pre>"]
SINGLE = ["<br>", "<br/>", "<img src='x>y'>", "<!-- <b> -->", "<hr>", "<x id='2'/>", "<script>a<b</script>"]
ENTITIES = ["&amp;", "&nbsp;", "&lt;b&gt;", "&eacute;", "&foo;", "&", "<", ">", "&#65;"]
SPACES = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", ". ", ", ", "! ", ""]
ODD = ["日本語。", "é́", "👩‍👩‍👧", "\x00", "\ufffc", "\ud800", "%", "{", "}", "ﬁ", "ß", "(", ")", "…"]

plain = st.lists(st.sampled_from([*WORDS, *ITEMS, *SPACES, *SPACES, *ODD]), max_size=25).map("".join)
markup = st.lists(
    st.sampled_from([*WORDS, *ITEMS, *SPACES, *SPACES, *OPEN, *CLOSE, *SINGLE, *ENTITIES, *ODD]), max_size=40
).map("".join)
spaced = st.lists(st.sampled_from([*WORDS, *WORDS, *ITEMS, *ODD]), max_size=25).map(" ".join)
fast = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def model(bundles: Path) -> Translator:
    return Translator.load(Bundle.read(bundle_of(bundles, "it")), CPU)


class Silent(Adversary):
    """Says nothing."""

    def answer(self, batch: SourceBatch) -> Found:
        return [(Hypothesis((), -1.0),) * batch.options.hypotheses for _ in batch.sources]


def run(texts: list[str], options: TextOptions, model: Translator, adversary: Adversary) -> list[TextTranslation]:
    batches = []

    def answer(batch: SourceBatch) -> Found:
        batches.append(batch)
        assert all(0 < len(source) <= model.maximum_length for source in batch.sources)
        return adversary.answer(batch)

    translations = drive(work_on(texts, options, model), answer)
    assert len(batches) <= 4
    return translations


def tags(text: str, html: bool) -> Counter[str]:
    return Counter(text[token.begin : token.end] for token in scan(text, html) if token.kind != "text")


def paired(text: str, html: bool) -> Counter[tuple[str, str]]:
    tokens = scan(text, html)
    found = pairs(tokens, html)
    shown = [text[token.begin : token.end] for token in tokens]
    return Counter((shown[first], shown[second]) for first, second in found.items() if first < second)


@fast
@given(text=markup, kind=st.sampled_from(["html", "xml"]), seed=st.integers(0, 2**32), protect=st.booleans())
def test_every_tag_comes_out_once_and_in_its_pair(
    text: str, kind: Format, seed: int, protect: bool, model: Translator
) -> None:
    options = TextOptions(format=kind, protect=protect, search=TranslationOptions(hypotheses=2))
    (translation,) = run([text], options, model, Adversary(model, seed))
    for output in (translation.text, *translation.alternatives):
        assert tags(output, kind == "html") == tags(text, kind == "html")
        assert paired(output, kind == "html") == paired(text, kind == "html")


@fast
@given(text=spaced, seed=st.integers(0, 2**32))
@example(text="geregnet. Kino. Aktualisierung %s", seed=2**32 - 1)
def test_every_item_comes_out_as_often_as_it_went_in(text: str, seed: int, model: Translator) -> None:
    options = TextOptions(search=TranslationOptions(hypotheses=3))
    (translation,) = run([text], options, model, Adversary(model, seed))
    assert len(translation.alternatives) == 2
    kept = [text[slice(*span)] for span, kind in find_items(text) if kind != "number"]
    for output in (translation.text, *translation.alternatives):
        for item in (item for item in kept if text.count(item) == kept.count(item)):
            assert _count(output, item) == _count(text, item), item


NUMBERS = ["5", "05", "1.000,50", "10 000", "29,9 %", "104/2000", "17.12.1999", "14:30", "(2)", "17. Dezember 1999"]
NUMBERS += ["3. Juni", "Mai 2003", "1.2.3.4", "0", "007", "5-7"]
counted = st.lists(st.sampled_from([*WORDS, *WORDS, *NUMBERS, "%s", "a@b.de", "😀"]), max_size=25).map(" ".join)


@fast
@given(text=counted, seed=st.integers(0, 2**32))
def test_a_sentence_says_which_numbers_it_lacks(text: str, seed: int, model: Translator) -> None:
    (translation,) = run([text], TextOptions(), model, Adversary(model, seed))
    for sentence in translation.sentences:
        plain = [re.sub("%s|a@b.de|😀", "~", each) for each in (sentence.source, sentence.translation)]
        compared = Comparison(Said(plain[0], [], notation("de")), Said(plain[1], [], notation("en")))
        assert bool(compared.lost) is bool(sentence.missing)
        assert (sentence.numbers == "missing") is bool(sentence.missing)


def _count(text: str, item: str) -> int:
    """How often an item is there: neither %%s nor a percentage that letters follow, as in 5%sd, is one."""
    if item == "%%":
        return text.count(item)
    letters = r"(?![A-Za-z])" if item[0] == "%" and item[-1].isalpha() else ""
    return len(re.findall(re.escape(item) + letters, text.replace("%%", "")))


# Emoji of one and of several characters, arrows, symbols and words of other scripts: none is in the test's vocabulary.
SIGNS = ["😀", "👩🏽‍💻", "❤️‍🔥", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "→", "⚠️", "東京", "Москва", "Łódź", "😀→東京", "⟶⇒"]
HIDDEN = "\u00ad\u200b\u200c\u200e\u2060\u2066\u2068\u2069\u202a\u202c\ufeff\x01\x9b"
REFERENCES = ["&shy;", "&#173;", "&#xAD;", "&#8203;", "&zwnj;", "&lrm;", "&#x2068;", "&#x2069;"]
_HIDDEN = re.compile("|".join([f"[{HIDDEN}]", *map(re.escape, REFERENCES)]))
KINDS = st.sampled_from(["text", "html", "xml"])
MARKED = [*OPEN, *CLOSE, *SINGLE]


@st.composite
def with_signs(draw: st.DrawFn, kind: Format) -> str:
    units = [*WORDS, *SIGNS, *SIGNS, *ITEMS, " ", " ", " ", ", ", "\n", *(MARKED if kind != "text" else ())]
    # Letters and digits that touch an address would be part of it.
    return re.sub(r"1️⃣|a@b.de|http\S+?=c", r" \g<0> ", "".join(draw(st.lists(st.sampled_from(units), max_size=30))))


@st.composite
def with_hidden(draw: st.DrawFn, kind: Format) -> tuple[str, str]:
    """A text with invisible characters in its words and between all that it is made of, and the same text without."""
    hidden = st.sampled_from([*HIDDEN, *(REFERENCES if kind != "text" else ())])
    units = [*WORDS, *WORDS, *SIGNS, *ITEMS, " ", " ", ". ", "\n", *(MARKED if kind != "text" else ())]
    dirty, clean = [], []
    for unit in draw(st.lists(st.sampled_from(units), max_size=25)):
        clean.append(unit)
        at = draw(st.integers(0, len(unit))) if unit in WORDS else draw(st.sampled_from([0, len(unit)]))
        between = draw(st.lists(hidden, max_size=2))
        dirty.extend([unit[:at], *between, unit[at:]])
    return "".join(dirty), "".join(clean)


def check_signs(text: str, kind: Format, seed: int, model: Translator) -> None:
    """Each sign comes out as often as it went in, and signs that touch stay together, in their order."""
    options = TextOptions(format=kind, search=TranslationOptions(hypotheses=2))
    (translation,) = run([text], options, model, Adversary(model, seed))
    for output in (translation.text, *translation.alternatives):
        for sign in SIGNS:
            assert output.count(sign) == text.count(sign), sign


def check_hidden(dirty: str, clean: str, kind: Format, seed: int, model: Translator) -> None:
    """The model and the router read the same with and without invisible characters, and so the same comes out."""
    options = TextOptions(format=kind)
    seen: list[list[tuple[str, ...]]] = []
    outputs = []
    for text in (dirty, clean):
        adversary = Adversary(model, seed)
        work = work_on([text], options, model)
        seen.append([])

        def answer(batch: SourceBatch, adversary: Adversary = adversary) -> Found:
            seen[-1].extend(batch.sources)
            return adversary.answer(batch)

        outputs.append(drive(work, answer)[0].text)
    assert seen[0] == seen[1]
    assert _HIDDEN.sub("", outputs[0]) == outputs[1]
    lines = [[" ".join(line.split()) for line in plain_lines([text], options)] for text in (dirty, clean)]
    assert [line for line in lines[0] if line] == [line for line in lines[1] if line]


@settings(fast, max_examples=200)
@given(data=st.data(), kind=KINDS, seed=st.integers(0, 2**32))
def test_every_sign_comes_out_as_often_as_it_went_in(
    data: st.DataObject, kind: Format, seed: int, model: Translator
) -> None:
    check_signs(data.draw(with_signs(kind)), kind, seed, model)


@settings(fast, max_examples=200)
@given(data=st.data(), kind=KINDS, seed=st.integers(0, 2**32))
def test_invisible_characters_change_no_translation(
    data: st.DataObject, kind: Format, seed: int, model: Translator
) -> None:
    check_hidden(*data.draw(with_hidden(kind)), kind, seed, model)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(fast, max_examples=many(1_000))
@given(data=st.data(), kind=KINDS, seed=st.integers(0, 2**32))
def test_every_sign_in_many_texts(data: st.DataObject, kind: Format, seed: int, model: Translator) -> None:
    check_signs(data.draw(with_signs(kind)), kind, seed, model)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(fast, max_examples=many(1_000))
@given(data=st.data(), kind=KINDS, seed=st.integers(0, 2**32))
def test_invisible_characters_in_many_texts(data: st.DataObject, kind: Format, seed: int, model: Translator) -> None:
    check_hidden(*data.draw(with_hidden(kind)), kind, seed, model)


@fast
@example(text="AmAm", seed=1201890, splitting="sentences")  # invented placeholders at the very beginning
@example(text="Am ", seed=407, splitting="sentences")  # nothing but invented placeholders
@given(text=plain, seed=st.integers(0, 2**32), splitting=st.sampled_from(["sentences", "lines"]))
def test_lines_and_the_whitespace_around_them_stay(text: str, seed: int, splitting: str, model: Translator) -> None:
    options = TextOptions(splitting=splitting)  # type: ignore[arg-type]
    (translation,) = run([text], options, model, Adversary(model, seed))
    ends = re.compile(r"\r\n|\n|\r")
    if not any("\n" in text[slice(*span)] for span, _ in find_items(text)):
        assert ends.findall(translation.text) == ends.findall(text)
    for before, after in zip(ends.split(text), ends.split(translation.text), strict=True):
        assert before[: len(before) - len(before.lstrip())] == after[: len(after) - len(after.lstrip())] or not before
        assert any(map(str.isalpha, before)) or before == after


@fast
@given(text=markup, kind=st.sampled_from(["text", "html", "xml"]))
def test_what_the_model_says_nothing_about_stays_byte_for_byte(text: str, kind: Format, model: Translator) -> None:
    (translation,) = run([text], TextOptions(format=kind), model, Silent(model, 0))
    assert translation.text == text


@given(text=markup)
@fast
def test_lines_for_routing_have_no_markup(text: str) -> None:
    lines = plain_lines([text], TextOptions(format="html"))
    assert not any(tag in line for line in lines for tag in ("<i class", "</span>", "<script"))
