"""Wherever a placeholder stands, and whatever the model says: it comes out once, whole, and no word touches it."""

import html
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmalloc_export.emit import ctranslate2
from fmalloc_runtime.bundle.bundle import Bundle, EngineInfo
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.items import find_items
from fmalloc_runtime.text.pipeline import work_on
from fmalloc_runtime.text.syntaxes import SYNTAXES
from fmalloc_runtime.text.translation import Format, Found, SourceBatch, TextOptions, drive
from fmalloc_runtime.text.words import in_word
from tests.support.adversary import Adversary
from tests.support.bases import POSITIONS
from tests.support.bundles import CPU, bundle_of
from tests.support.onnx import emitted, load

EXAMPLES = [example for syntax in SYNTAXES for example in syntax.examples]
FORMATS: tuple[Format, ...] = ("text", "html", "xml")
FRAMES = ["{} Der Server ist neu.", "Der {} Server", "Der Server ist neu {}", "{}"]
FRAMES += [f"Die Datei {before}{{}}{after} im Menü." for before, after in ("''", '""', "„“", "«»", "()", "[]", "“”")]
FRAMES += [f"Die Datei {{}}{sign} Klicken Sie" for sign in (".", ",", ";", ":", "!", "?", "…", " –", "'s")]
FRAMES += ["%s {} ist neu", "Der {} {{0}} Server", "a@b.de {} http://a.de"]

cases = st.tuples(st.sampled_from(EXAMPLES), st.sampled_from(FRAMES), st.sampled_from(FORMATS))
Answer = Callable[[SourceBatch], Found]


@pytest.fixture(scope="module")
def model(bundles: Path) -> Translator:
    return Translator.load(Bundle.read(bundle_of(bundles, "it")), CPU)


@pytest.fixture(scope="module", params=["ctranslate2", "onnx"])
def real(request: pytest.FixtureRequest, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """One random model in each engine."""
    directory = tmp_path_factory.mktemp(request.param)
    model = emitted(load(directory, "marian-separate"), directory / "onnx")
    (directory / "ctranslate2").mkdir()
    ctranslate2.emit(model.domain, model.model, directory / "ctranslate2", "float32")
    (directory / "model").symlink_to(directory / request.param)
    model.domain.write_tokenizer(directory / "tokenizer")
    info = EngineInfo(name=request.param, minimum_version="1.24", quantization="float32")
    manifest = Bundle.open(bundle_of(bundles, "it")).manifest
    changed = manifest.model_copy(update={"engine": info, "maximum_length": POSITIONS})
    return Translator.load(Bundle(directory, changed), CPU)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases, seed=st.integers(0, 2**32))
def test_a_placeholder_comes_out_once_and_whole(case: tuple[str, str, Format], seed: int, model: Translator) -> None:
    check(*case, model, Adversary(model, seed).answer)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_every_placeholder_comes_out_of_every_place(format: Format, model: Translator) -> None:
    for seed, (example, frame) in enumerate(product(EXAMPLES, FRAMES)):
        check(example, frame, format, model, Adversary(model, seed).answer)


def test_placeholders_come_out_of_real_engines(real: Translator) -> None:
    for number, example in enumerate(syntax.examples[0] for syntax in SYNTAXES):
        check(example, FRAMES[number % len(FRAMES)], FORMATS[number % 3], real, engine_of(real))


@pytest.mark.slow
def test_placeholders_side_by_side_come_out(model: Translator) -> None:
    certain = [syntax.examples[0] for syntax in SYNTAXES if not syntax.prose]
    for seed, pair in enumerate(product(certain, certain)):
        text = "Der Server {}{} ist neu".format(*pair)
        if _found(text) == list(pair):  # a few read as one, or as others
            (translation,) = drive(work_on([text], TextOptions(), model), Adversary(model, seed).answer)
            assert all(_count(translation.text, item) == _count(text, item) for item in pair), (text, translation.text)


def _count(text: str, item: str) -> int:
    """How often printf would see an item: %%s is a sign and a letter."""
    return text.count(item) if item == "%%" else text.replace("%%", "  ").count(item)


def check(example: str, frame: str, format: Format, model: Translator, answer: Answer) -> None:
    """The sentence's translations have the placeholder and its neighbours' letters where the source has them."""
    text = frame.format(example)
    items = _found(text)
    (whole,) = {item for item in items if example in item}
    document, raw = (text, whole) if format == "text" else (html.escape(part, quote=False) for part in (text, whole))
    options = TextOptions(format=format, search=TranslationOptions(hypotheses=2))
    (translation,) = drive(work_on([document], options, model), answer)
    for output in (translation.text, *translation.alternatives):
        for item in items:
            shown = item if format == "text" else html.escape(item, quote=False)
            assert output.count(shown) == document.count(shown), (document, output, item)
        sides = zip(_touching(output, raw), _touching(document, raw), strict=True)
        assert all(now <= before for now, before in sides), (document, output)


def _found(text: str) -> list[str]:
    return [text[slice(*span)] for span, kind in find_items(text) if kind != "number"]


def _touching(text: str, item: str) -> Iterator[bool]:
    """Whether a letter or digit touches the item, before it and after it."""
    begin = text.index(item)
    yield in_word(text[max(begin - 1, 0) : begin])
    yield in_word(text[begin + len(item) : begin + len(item) + 1])


def engine_of(model: Translator) -> Answer:
    """Answers of a real engine."""

    return model.search
