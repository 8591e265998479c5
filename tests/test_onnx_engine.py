"""The ONNX Runtime engine on a tiny random model; beside CTranslate2's where both have the same one."""

import builtins
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from export_fixtures import tree_bytes
from onnx_fixtures import Emitted, emitted, load
from runtime_fixtures import bundle_of, bundles, own_bundles, write_bundle

from fmalloc_export import ctranslate2
from fmalloc_runtime.bundle import Bundle, EngineInfo
from fmalloc_runtime.engine import CTranslate2Engine, Engine, Hypothesis, TranslationOptions
from fmalloc_runtime.errors import EngineError
from fmalloc_runtime.onnx_engine import OnnxEngine
from fmalloc_runtime.translator import EngineSettings, Translator
from fmalloc_shared.errors import FmallocError

__all__ = ["bundles", "own_bundles"]
OPTIONS = TranslationOptions(max_length=40)


@pytest.fixture(scope="module", params=["marian-separate", "m2m100"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    directory = tmp_path_factory.mktemp(request.param)
    return emitted(load(directory, request.param), directory / "model")


@pytest.fixture(scope="module")
def engine(model: Emitted) -> OnnxEngine:
    return engine_of(model.directory)


def engine_of(directory: Path, **settings: Any) -> OnnxEngine:
    return OnnxEngine(directory, "cpu", intra_threads=1, **{"maximum_length": 300, **settings})


def assert_equal(found: list[Hypothesis], expected: list[Hypothesis], tolerance: float = 1e-5) -> None:
    assert [hypothesis.tokens for hypothesis in found] == [hypothesis.tokens for hypothesis in expected]
    scores = [hypothesis.score for hypothesis in expected]
    assert [hypothesis.score for hypothesis in found] == pytest.approx(scores, rel=1e-5, abs=tolerance)


def test_it_searches_as_ctranslate2_does(model: Emitted, engine: OnnxEngine, tmp_path: Path) -> None:
    domain = model.domain
    arguments = (domain.base, domain.tokenizer, domain.vocabulary, model.model)
    ctranslate2.emit(*arguments, tmp_path, "float32")
    other = CTranslate2Engine(tmp_path, "cpu", intra_threads=1, maximum_length=300)
    sources = model.source_tokens(32)
    for beam_size, penalty, longest in ((1, 1.0, 40), (4, 1.0, 40), (4, 0.6, 12), (3, 0.0, 40), (6, 1.0, None)):
        options = TranslationOptions(beam_size, longest, penalty)
        found, expected = (each.translate(sources, model.target_prefix, options) for each in (engine, other))
        assert_equal(found, expected, tolerance=1e-4)
        assert sum(len(hypothesis.tokens) < (longest or 300) for hypothesis in found) > 0


def test_a_batch_translates_as_its_sentences_alone(model: Emitted, engine: OnnxEngine) -> None:
    sources = model.source_tokens()
    for beam_size in (1, 4):
        options = TranslationOptions(beam_size, max_length=40)
        batch = engine.translate(sources, model.target_prefix, options)
        alone = [engine.translate([source], model.target_prefix, options)[0] for source in sources]
        assert_equal(batch, alone)


def test_batches_are_bounded(model: Emitted, engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = model.source_tokens(24)
    expected = engine.translate(sources, model.target_prefix, OPTIONS)
    sizes: list[tuple[int, int]] = []
    encode = engine._model.encode

    def counted(ids: list[list[int]]) -> Any:
        sizes.append((len(ids), max(map(len, ids))))
        return encode(ids)

    monkeypatch.setattr(engine._model, "encode", counted)
    monkeypatch.setattr("fmalloc_runtime.onnx_engine._BATCH_TOKENS", 40)
    assert_equal(engine.translate(sources, model.target_prefix, OPTIONS), expected)
    assert all(count * length <= 40 for count, length in sizes)
    sizes.clear()
    vocabulary = len(model.domain.vocabulary.target)
    monkeypatch.setattr("fmalloc_runtime.onnx_engine._BATCH_LOGITS", 3 * 4 * vocabulary)
    engine.translate(sources, model.target_prefix, OPTIONS)
    assert max(count for count, _ in sizes) == 3


def test_output_ends_at_max_length_and_holds_no_end_token(model: Emitted, engine: OnnxEngine) -> None:
    sources = model.source_tokens()
    free, bounded = (
        engine.translate(sources, model.target_prefix, TranslationOptions(1, length)) for length in (None, 5)
    )
    assert [hypothesis.tokens for hypothesis in bounded] == [hypothesis.tokens[:5] for hypothesis in free]
    assert 5 < max(len(hypothesis.tokens) for hypothesis in free) <= 300 - len(model.target_prefix)
    assert all("</s>" not in hypothesis.tokens for hypothesis in free)


def test_output_ends_with_the_models_positions(model: Emitted) -> None:
    engine = engine_of(model.directory, maximum_length=7)
    found = engine.translate(model.source_tokens(), model.target_prefix, TranslationOptions())
    assert max(len(hypothesis.tokens) for hypothesis in found) == 7 - len(model.target_prefix)


def test_the_target_prefix_steers_and_is_not_part_of_the_result(model: Emitted, engine: OnnxEngine) -> None:
    sources = model.source_tokens()
    vocabulary = model.domain.vocabulary.target
    plain, steered = (engine.translate(sources, (token,), OPTIONS) for token in (vocabulary[5], vocabulary[6]))
    assert [hypothesis.tokens for hypothesis in plain] != [hypothesis.tokens for hypothesis in steered]
    with pytest.raises(EngineError, match="target prefix 'xyzzy' is not among the tokens that it can write"):
        engine.translate(sources, ("xyzzy",), OPTIONS)


def test_unknown_source_tokens_are_read_as_such(model: Emitted, engine: OnnxEngine) -> None:
    (source,) = model.source_tokens(1)
    found = engine.translate([["xyzzy", *source], ["<unk>", *source]], model.target_prefix, OPTIONS)
    assert found[0].tokens == found[1].tokens
    assert engine.translate([], model.target_prefix, OPTIONS) == []


def test_many_threads_share_an_engine(model: Emitted) -> None:
    engine = engine_of(model.directory, inter_threads=3)
    sources = model.source_tokens()
    expected = engine.translate(sources, model.target_prefix, OPTIONS)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: engine.translate(sources, model.target_prefix, OPTIONS), range(12)):
            assert found == expected


@pytest.mark.parametrize("quantization", ["float32", "int8", "float16"])
def test_files_may_lie_in_memory(model: Emitted, tmp_path: Path, quantization: str) -> None:
    found = emitted(model.domain, tmp_path / "model", quantization)
    files = tree_bytes(found.directory)
    engines: tuple[Engine, ...] = (engine_of(found.directory), engine_of(tmp_path / "nowhere", files=files))
    on_disk, in_memory = (each.translate(model.source_tokens(), model.target_prefix, OPTIONS) for each in engines)
    assert on_disk == in_memory
    for name in ("vocabulary.json", "encoder_model.onnx"):
        with pytest.raises(FmallocError, match=f"nowhere/{name}: missing, but an ONNX model needs it"):
            engine_of(tmp_path / "nowhere", files={key: value for key, value in files.items() if key != name})


def test_what_cannot_be_loaded_is_named(model: Emitted, tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="nowhere/vocabulary.json: cannot be read"):
        engine_of(tmp_path / "nowhere")
    with pytest.raises(FmallocError, match="compute type 'int8': an ONNX model runs in the type"):
        engine_of(model.directory, compute_type="int8")
    with pytest.raises(FmallocError, match="device 'toaster', expected auto, cpu or cuda"):
        OnnxEngine(model.directory, "toaster")
    with pytest.raises(FmallocError, match=r"cannot use CUDA: pip install 'fmalloc\[onnx-gpu\]'"):
        OnnxEngine(model.directory, "cuda")
    files = tree_bytes(model.directory)
    with pytest.raises(FmallocError, match="encoder_model.onnx: ONNX Runtime cannot load it on cpu"):
        engine_of(tmp_path, files={**files, "encoder_model.onnx": b"not a model"})
    vocabulary = files["vocabulary.json"].replace(b'"end": "</s>"', b'"end": "</end>"')
    with pytest.raises(FmallocError, match=r"vocabulary.json: '</end>' is not among the tokens"):
        engine_of(tmp_path, files={**files, "vocabulary.json": vocabulary})


def test_sources_that_the_model_has_no_positions_for_are_refused(model: Emitted, engine: OnnxEngine) -> None:
    with pytest.raises(EngineError, match="model: ONNX Runtime failed"):
        engine.translate([model.source_tokens(1)[0] * 301], model.target_prefix, OPTIONS)


def test_a_missing_onnxruntime_is_named(model: Emitted, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **settings: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FmallocError, match=r"pip install 'fmalloc\[onnx\]'"):
        engine_of(model.directory)


def test_bundles_of_the_engine_are_translated(
    model: Emitted, engine: OnnxEngine, tmp_path: Path, bundles: Path
) -> None:
    domain = model.domain
    tokenizer = domain.write_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "model").symlink_to(model.directory)
    info = EngineInfo(name="onnx", minimum_version="1.24", quantization="float32")
    manifest = Bundle.open(bundle_of(bundles, "it")).manifest
    bundle = Bundle(tmp_path, manifest.model_copy(update={"engine": info, "maximum_length": 300}))
    translator = Translator.load(bundle, EngineSettings("cpu", intra_threads=1))
    text = domain.samples[0].source
    expected = engine.translate([tokenizer.encode(text)], tokenizer.target_prefix, TranslationOptions())
    assert translator.translate([text])[0].text == tokenizer.decode(expected[0].tokens)


def test_an_onnxruntime_that_is_too_old_is_named(own_bundles: Path) -> None:
    engine = EngineInfo(name="onnx", minimum_version="99.1", quantization="float32")
    bundle = Bundle.open(write_bundle(own_bundles, "it", golden=(), engine=engine))
    with pytest.raises(FmallocError, match=r"needs ONNX Runtime 99.1 or newer, .* pip install 'onnxruntime>=99.1'"):
        Translator.load(bundle, EngineSettings("cpu"))
