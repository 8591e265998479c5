"""The CTranslate2 engine, and the translator over it."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest

from fmalloc_runtime.bundle.bundle import Bundle, EngineInfo, GoldenRecord
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.engines.ctranslate2 import CTranslate2Engine
from fmalloc_runtime.errors import EngineError, InputTooLongError
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.errors import FmallocError
from tests.support.bundles import CPU, MAXIMUM_LENGTH, SENTENCES, bundle_of, write_bundle

OPTIONS = TranslationOptions()
LINES = [line for lines in SENTENCES.values() for line in lines]


@pytest.fixture(scope="module")
def translator(bundles: Path) -> Translator:
    return Translator.load(Bundle.open(bundle_of(bundles, "it")), CPU)


def test_a_batch_translates_as_its_sentences_alone(translator: Translator) -> None:
    for beam_size in (1, 4):
        options = TranslationOptions(beam_size)
        batch = translator.translate(LINES, options)
        alone = [translator.translate([line], options)[0] for line in LINES]
        assert [item.text for item in batch] == [item.text for item in alone]
        for one, other in zip(batch, alone, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-5)
    assert len({item.text for item in batch}) > len(LINES) / 2


def test_beam_search_finds_likelier_hypotheses(translator: Translator) -> None:
    sources = [translator.tokenizer.encode(line) for line in LINES]
    search = [translator.engine.translate(sources, (), TranslationOptions(beam, length_penalty=0.0)) for beam in (1, 8)]
    greedy, wide = (sum(best.score for (best,) in found) for found in search)
    assert wide > greedy


def test_output_ends_at_max_length_and_holds_no_special_token(translator: Translator) -> None:
    sources = [translator.tokenizer.encode(line) for line in LINES]
    lengths = {
        len(best.tokens) for (best,) in translator.engine.translate(sources, (), TranslationOptions(max_length=5))
    }
    assert max(lengths) == 5
    free = translator.engine.translate(sources, (), TranslationOptions())
    assert 5 < max(len(best.tokens) for (best,) in free) <= MAXIMUM_LENGTH
    assert all("</s>" not in best.tokens for (best,) in free)


def test_the_target_prefix_steers_and_is_not_part_of_the_result(translator: Translator) -> None:
    sources = [translator.tokenizer.encode(line) for line in LINES]
    plain = translator.engine.translate(sources, (), TranslationOptions())
    steered = translator.engine.translate(sources, ("▁Die",), TranslationOptions())
    assert [best.tokens for (best,) in plain] != [best.tokens for (best,) in steered]
    assert max(len(best.tokens) for (best,) in steered) <= MAXIMUM_LENGTH - 1


@pytest.mark.parametrize("options", [TranslationOptions(4), TranslationOptions(4, 9, 0.0), TranslationOptions(6, 1)])
def test_several_hypotheses_are_sorted_unlike_and_begin_with_the_best(
    translator: Translator, options: TranslationOptions
) -> None:
    sources = [translator.encode(line) for line in LINES]
    best = translator.engine.translate(sources, (), options)
    found = translator.engine.translate(sources, (), replace(options, hypotheses=4))
    for (only,), several in zip(best, found, strict=True):
        assert len({hypothesis.tokens for hypothesis in several}) == len(several) == 4
        assert list(several) == sorted(several, key=lambda hypothesis: -hypothesis.score)
        assert several[0].score >= only.score
        if options.length_penalty:
            assert several[0].tokens == only.tokens


def test_what_the_engine_makes_up_behind_a_prefix_is_no_hypothesis(translator: Translator) -> None:
    options = TranslationOptions(16, max_length=1, hypotheses=16)
    found = translator.engine.translate([translator.encode(line) for line in LINES], ("▁Die",), options)
    assert all(hypothesis.score > -100 for several in found for hypothesis in several)
    assert {len(several) for several in found} == {15, 16}


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("prefix", [(), ("▁Die",)])
def test_attention_is_a_distribution_over_the_source_of_its_own_sentence(
    translator: Translator, beam_size: int, prefix: tuple[str, ...]
) -> None:
    sources = [translator.encode(line) for line in LINES]
    options = TranslationOptions(beam_size, max_length=9, hypotheses=beam_size, attention=True)
    for source, together in zip(sources, translator.engine.translate(sources, prefix, options), strict=True):
        (alone,) = translator.engine.translate([source], prefix, options)
        assert [hypothesis.tokens for hypothesis in alone] == [hypothesis.tokens for hypothesis in together]
        for ours, theirs in zip(together, alone, strict=True):
            assert ours.attention is not None and theirs.attention is not None
            assert ours.attention.shape == (len(ours.tokens), len(source))
            np.testing.assert_allclose(ours.attention.sum(axis=1), 1, atol=1e-5)
            np.testing.assert_allclose(ours.attention, theirs.attention, atol=1e-5)
    assert all(hypothesis.attention is None for (hypothesis,) in translator.engine.translate(sources, prefix, OPTIONS))


def test_a_target_scores_as_the_search_scored_it(translator: Translator) -> None:
    sources = [translator.encode(line) for line in LINES]
    found = [
        (source, best)
        for source, (best,) in zip(sources, translator.engine.translate(sources, (), OPTIONS), strict=True)
        if len(best.tokens) + 1 < MAXIMUM_LENGTH  # longer ones may lack the end token
    ]
    scores = translator.engine.score([source for source, _ in found], [best.tokens for _, best in found], ())
    assert scores == pytest.approx([best.score for _, best in found], abs=1e-4)
    assert len(found) > 3


def test_fast_attention_lacks_the_first_row_at_most(translator: Translator) -> None:
    sources = [translator.encode(line) for line in LINES]
    options = TranslationOptions(max_length=9, attention=True)
    full, fast = (
        translator.engine.translate(sources, (), replace(options, fast_attention=asked)) for asked in (False, True)
    )
    assert full == fast
    for (one,), (other,) in zip(full, fast, strict=True):
        assert one.attention is not None and other.attention is not None
        np.testing.assert_allclose(one.attention[1:], other.attention[1:], atol=1e-5)
        assert not other.attention[0].any()


def test_attention_changes_no_translation(translator: Translator) -> None:
    sources = [translator.encode(line) for line in LINES]
    with_attention, without = (
        translator.engine.translate(sources, (), TranslationOptions(hypotheses=4, attention=asked))
        for asked in (True, False)
    )
    assert with_attention == without


def test_a_model_from_memory_gives_attention_too(translator: Translator) -> None:
    model = translator.bundle.model
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    options = TranslationOptions(max_length=9, attention=True)
    engine = CTranslate2Engine(model / "nowhere", "cpu", intra_threads=1, maximum_length=MAXIMUM_LENGTH, files=files)
    sources = [translator.encode(line) for line in LINES]
    for (ours,), (theirs,) in zip(
        engine.translate(sources, (), options), translator.engine.translate(sources, (), options), strict=True
    ):
        np.testing.assert_array_equal(ours.attention, theirs.attention)


@pytest.mark.parametrize("writable", [True, False])
def test_a_model_from_memory_is_kept_once_where_a_folder_can_be_written(
    translator: Translator, writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine keeps a copy of files that it is given in memory; the folder is gone as soon as the model is there."""
    given, real = [], ctranslate2.Translator

    def watched(path: str, **settings: Any) -> Any:
        given.append((path, settings["files"]))
        return real(path, **settings)

    monkeypatch.setattr(ctranslate2, "Translator", watched)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path if writable else tmp_path / "nowhere"))
    model = translator.bundle.model
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    engine = CTranslate2Engine(model / "nowhere", "cpu", intra_threads=1, maximum_length=MAXIMUM_LENGTH, files=files)
    ((path, content),) = given
    assert (Path(path).parent == tmp_path, content) == ((True, None) if writable else (False, files))
    assert not list(tmp_path.iterdir())
    sources, options = [translator.encode(line) for line in LINES], TranslationOptions(max_length=9)
    assert engine.translate(sources, (), options) == translator.engine.translate(sources, (), options)


def test_blank_texts_translate_to_themselves(translator: Translator) -> None:
    translated = translator.translate(["", "  ", "\t\n", LINES[0]])
    assert [item.text for item in translated[:3]] == ["", "  ", "\t\n"]
    assert [item.score for item in translated[:3]] == [None, None, None]
    assert translated[3] == translator.translate([LINES[0]])[0]
    assert translator.translate([]) == []


def test_nothing_is_cut_silently(translator: Translator) -> None:
    room = MAXIMUM_LENGTH - 1
    fits = next(text for n in range(1, 99) if len(translator.tokenizer.encode(text := "e" * n)) == room + 1)
    assert translator.translate([fits])[0].text
    with pytest.raises(InputTooLongError, match=rf"\d+ tokens in one line, it takes at most {MAXIMUM_LENGTH}"):
        translator.translate([LINES[0], "", LINES[0] * 9])


def test_many_threads_share_a_translator(translator: Translator) -> None:
    expected = [item.text for item in translator.translate(LINES)]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: translator.translate(LINES), range(16)):
            assert [item.text for item in found] == expected


def test_golden_translations_are_replayed(own_bundles: Path) -> None:
    true = Bundle.open(bundle_of(own_bundles, "it")).golden()
    Translator.load(Bundle.open(bundle_of(own_bundles, "it")), CPU).replay_golden()
    wrong = (true[0], GoldenRecord(source=true[1].source, translation="something else"), true[2])
    bundle = Bundle.open(write_bundle(own_bundles, "it", seed=1, golden=wrong))
    with pytest.raises(FmallocError, match=r"golden\.jsonl record 2: .* expected 'something else'"):
        Translator.load(bundle, CPU).replay_golden()


@pytest.mark.parametrize(
    ("engine", "complaint"),
    [
        (EngineInfo(name="ctranslate2", minimum_version="99.1", quantization="float32"), "needs CTranslate2 99.1"),
        (EngineInfo(name="abacus", minimum_version="1", quantization="float32"), "engine 'abacus' is not supported"),
    ],
)
def test_engines_that_are_not_here_are_named(own_bundles: Path, engine: EngineInfo, complaint: str) -> None:
    bundle = Bundle.open(write_bundle(own_bundles, "it", golden=(), engine=engine))
    with pytest.raises(FmallocError, match=complaint):
        Translator.load(bundle, CPU)


def test_models_that_cannot_be_loaded_are_named(tmp_path: Path, bundles: Path) -> None:
    with pytest.raises(FmallocError, match=r"nowhere: CTranslate2 cannot load it on cpu"):
        CTranslate2Engine(tmp_path / "nowhere", "cpu")
    with pytest.raises(FmallocError, match="cannot load it on"):
        CTranslate2Engine(bundle_of(bundles, "it") / "model", "toaster")


def test_int8_is_chosen_at_load_time(bundles: Path) -> None:
    settings = EngineSettings(device="cpu", compute_type="int8", intra_threads=1)
    translator = Translator.load(Bundle.open(bundle_of(bundles, "it")), settings)
    assert all(item.text for item in translator.translate(LINES))


def test_options_are_checked() -> None:
    with pytest.raises(FmallocError, match="beam size 0: expected 1 or more"):
        TranslationOptions(beam_size=0)
    with pytest.raises(FmallocError, match="maximum length 0: expected 1 or more"):
        TranslationOptions(max_length=0)
    for wanted in (0, 4):
        with pytest.raises(FmallocError, match=f"{wanted} hypotheses: expected 1 to 3, the beam size"):
            TranslationOptions(beam_size=3, hypotheses=wanted)


def test_the_engine_refuses_what_it_has_no_positions_for(translator: Translator) -> None:
    tokens = Tokenizer.load(translator.bundle.tokenizer).encode("e" * 200)
    with pytest.raises(EngineError, match=r"model: CTranslate2 failed: No position encodings"):
        translator.engine.translate([tokens], (), TranslationOptions())


def test_integers_share_batches_of_one_length(bundles: Path) -> None:
    model = bundle_of(bundles, "it") / "model"
    mixing = {
        compute_type: CTranslate2Engine(model, "cpu", compute_type, 1, maximum_length=MAXIMUM_LENGTH).mixing
        for compute_type in ("default", "float32", "int8")
    }
    assert mixing == {"default": "any", "float32": "any", "int8": "equal"}
