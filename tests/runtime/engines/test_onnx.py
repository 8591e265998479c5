"""The ONNX Runtime engine on a tiny random model; beside CTranslate2's where both have the same one."""

import builtins
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fmalloc_export.emit import ctranslate2
from fmalloc_export.emit.onnx.graph import Graph
from fmalloc_export.emit.onnx.weights import Linear
from fmalloc_runtime.bundle.bundle import Bundle, EngineInfo
from fmalloc_runtime.engines.base import Engine, Hypothesis, TranslationOptions, score_exactly
from fmalloc_runtime.engines.ctranslate2 import CTranslate2Engine
from fmalloc_runtime.engines.onnx import OnnxEngine
from fmalloc_runtime.errors import EngineError
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_shared.errors import FmallocError
from tests.support.bases import POSITIONS
from tests.support.bundles import bundle_of, write_bundle
from tests.support.onnx import Emitted, emitted, load
from tests.support.stores import CORE_BASES, tree_bytes

OPTIONS = TranslationOptions(max_length=40)


@pytest.fixture(scope="module", params=["marian-separate", "m2m100"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    directory = tmp_path_factory.mktemp(request.param)
    return emitted(load(directory, request.param), directory / "model")


@pytest.fixture(scope="module")
def engine(model: Emitted) -> OnnxEngine:
    return engine_of(model.directory)


def engine_of(directory: Path, **settings: Any) -> OnnxEngine:
    return OnnxEngine(directory, "cpu", intra_threads=1, **{"maximum_length": POSITIONS, **settings})


Found = list[tuple[Hypothesis, ...]]


def assert_equal(found: Found, expected: Found, tolerance: float = 1e-5) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert [hypothesis.tokens for hypothesis in ours] == [hypothesis.tokens for hypothesis in theirs]
        scores = [hypothesis.score for hypothesis in theirs]
        assert [hypothesis.score for hypothesis in ours] == pytest.approx(scores, rel=1e-5, abs=tolerance)


def tokens(found: Found) -> list[tuple[str, ...]]:
    """Of the best hypothesis of each source."""
    return [best.tokens for best, *_ in found]


@dataclass(frozen=True)
class Twins:
    """One domain in two engines."""

    model: Emitted
    onnx: OnnxEngine
    ctranslate2: CTranslate2Engine


@pytest.fixture(scope="module", params=CORE_BASES)
def twins(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    directory = tmp_path_factory.mktemp(request.param)
    model = emitted(load(directory, request.param), directory / "model")
    (other := directory / "other").mkdir()
    ctranslate2.emit(model.domain, model.model, other, "float32")
    engine = CTranslate2Engine(other, "cpu", intra_threads=1, maximum_length=POSITIONS)
    return Twins(model, engine_of(model.directory), engine)


@pytest.mark.parametrize(
    "options",
    [
        TranslationOptions(1, 40),
        TranslationOptions(4, 40, hypotheses=4),
        TranslationOptions(4, 12, 0.6, hypotheses=2),
        TranslationOptions(3, 40, 0.0),
        TranslationOptions(6, 40, 0.0, hypotheses=5),
        TranslationOptions(6, 80),
        TranslationOptions(4, 1, hypotheses=4),
    ],
)
def test_it_searches_and_attends_as_ctranslate2_does(twins: Twins, options: TranslationOptions) -> None:
    sources, prefix = twins.model.source_tokens(32), twins.model.target_prefix
    options = replace(options, attention=True)
    found, expected = (engine.translate(sources, prefix, options) for engine in (twins.onnx, twins.ctranslate2))
    tied = 0
    for source, ours, theirs in zip(sources, found, expected, strict=True):
        for hypothesis, same in zip(ours, theirs, strict=True):
            assert hypothesis.score == pytest.approx(same.score, rel=1e-5, abs=2e-4)
            assert hypothesis.attention is not None
            if hypothesis.tokens != same.tokens:  # equally good ones, whose order the last bits decide
                tied += 1
                continue
            assert hypothesis.attention.shape == (len(hypothesis.tokens), len(source))
            np.testing.assert_allclose(hypothesis.attention.sum(axis=1), 1, atol=1e-5)
            np.testing.assert_allclose(hypothesis.attention, same.attention, atol=1e-4)
    assert tied <= 3
    if options.max_length == 80:
        assert any(len(written) < 80 for written in tokens(found))


def test_it_scores_targets_as_ctranslate2_does(twins: Twins) -> None:
    sources, prefix = twins.model.source_tokens(16), twins.model.target_prefix
    found = twins.ctranslate2.translate(sources, prefix, TranslationOptions(4))
    targets = [best.tokens[: 7 + number % 3] for number, (best,) in enumerate(found)]
    ours, theirs = (engine.score(sources, targets, prefix) for engine in (twins.onnx, twins.ctranslate2))
    assert ours == pytest.approx(theirs, abs=2e-4)
    alone = score_exactly(twins.ctranslate2, sources, targets, prefix)
    assert [hypothesis.score for (hypothesis,) in alone] == pytest.approx(theirs, abs=2e-4)
    assert len({round(score, 3) for score in ours}) > 2 and max(ours) < 0


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_a_batch_translates_as_its_sentences_alone(model: Emitted, tmp_path: Path, quantization: str) -> None:
    engine = engine_of(emitted(model.domain, tmp_path / "model", quantization).directory)
    assert engine.mixing == "any"
    sources = model.source_tokens()
    for beam_size in (1, 4):
        options = TranslationOptions(beam_size, max_length=40, hypotheses=beam_size, attention=True)
        batch = engine.translate(sources, model.target_prefix, options)
        alone = [engine.translate([source], model.target_prefix, options)[0] for source in sources]
        assert_equal(batch, alone)
        for ours, theirs in zip(sum(batch, ()), sum(alone, ()), strict=True):
            np.testing.assert_allclose(ours.attention, theirs.attention, atol=1e-5)


def one_scale_for_all(self: Graph, value: str, name: str, layer: Linear, of_domain: bool = False) -> str:
    """Graph.linear of earlier exporters, for int8."""
    bias = "" if layer.bias is None else self._use(self._weights.floats(f"{name}.bias", layer.bias, of_domain))
    weight, scale = map(self._use, self._weights.int8(f"{name}.weight", layer.weight, of_domain))
    operands = (value, self.node("Transpose", weight, perm=[1, 0]), scale, "", bias)
    return self.node("DynamicQuantizeMatMul", *operands, domain="com.microsoft")


def test_int8_bundles_of_earlier_exporters_depend_on_the_batch_and_say_so(
    model: Emitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Graph, "linear", one_scale_for_all)
    directory = emitted(model.domain, tmp_path / "model", "int8").directory
    engine = engine_of(directory)
    assert engine.mixing == "none"
    assert engine_of(tmp_path / "nowhere", files=tree_bytes(directory)).mixing == "none"
    sources = model.source_tokens()
    batch = engine.translate(sources, model.target_prefix, OPTIONS)
    alone = [engine.translate([source], model.target_prefix, OPTIONS)[0] for source in sources]
    assert [best.score for (best,) in batch] != pytest.approx([best.score for (best,) in alone], abs=1e-4)


def test_bundles_of_earlier_exporters_have_no_attention(model: Emitted, tmp_path: Path, engine: OnnxEngine) -> None:
    directory = tmp_path / "model"
    shutil.copytree(model.directory, directory)
    path = directory / "decoder_with_past_model.onnx"
    before = onnx.load(path, load_external_data=False)
    kept = [value for value in before.graph.output if value.name != "alignment"]
    del before.graph.output[:]
    before.graph.output.extend(kept)
    path.write_bytes(before.SerializeToString())
    options = replace(OPTIONS, attention=True)
    sources = model.source_tokens()
    found = engine_of(directory).translate(sources, model.target_prefix, options)
    assert found == engine.translate(sources, model.target_prefix, options)
    assert all(hypothesis.attention is None for (hypothesis,) in found)


def test_batches_are_bounded(model: Emitted, engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = model.source_tokens(24)
    expected = engine.translate(sources, model.target_prefix, OPTIONS)
    sizes: list[tuple[int, int]] = []
    encode = engine._model.encode

    def counted(ids: list[list[int]], **settings: Any) -> Any:
        sizes.append((len(ids), max(map(len, ids))))
        return encode(ids, **settings)

    monkeypatch.setattr(engine._model, "encode", counted)
    monkeypatch.setattr("fmalloc_runtime.engines.onnx.BATCH_TOKENS", 40)
    assert_equal(engine.translate(sources, model.target_prefix, OPTIONS), expected)
    assert all(count * length <= 40 for count, length in sizes)
    sizes.clear()
    vocabulary = len(model.domain.vocabulary.target)
    monkeypatch.setattr("fmalloc_runtime.engines.onnx._BATCH_LOGITS", 3 * 4 * vocabulary)
    engine.translate(sources, model.target_prefix, OPTIONS)
    assert max(count for count, _ in sizes) == 3


def test_output_ends_at_max_length_and_holds_no_end_token(model: Emitted, engine: OnnxEngine) -> None:
    sources = model.source_tokens()
    free, bounded = (
        engine.translate(sources, model.target_prefix, TranslationOptions(1, length)) for length in (None, 5)
    )
    assert tokens(bounded) == [written[:5] for written in tokens(free)]
    assert 5 < max(map(len, tokens(free))) <= POSITIONS - len(model.target_prefix)
    assert all("</s>" not in written for written in tokens(free))


def test_output_ends_with_the_models_positions(model: Emitted) -> None:
    engine = engine_of(model.directory, maximum_length=7)
    found = engine.translate(model.source_tokens(), model.target_prefix, TranslationOptions())
    assert max(map(len, tokens(found))) == 7 - len(model.target_prefix)


def test_the_target_prefix_steers_and_is_not_part_of_the_result(model: Emitted, engine: OnnxEngine) -> None:
    sources = model.source_tokens()
    vocabulary = model.domain.vocabulary.target
    plain, steered = (engine.translate(sources, (token,), OPTIONS) for token in (vocabulary[5], vocabulary[6]))
    assert tokens(plain) != tokens(steered)
    with pytest.raises(EngineError, match="target prefix 'xyzzy' is not in the vocabulary"):
        engine.translate(sources, ("xyzzy",), OPTIONS)


def test_unknown_source_tokens_are_read_as_such(model: Emitted, engine: OnnxEngine) -> None:
    (source,) = model.source_tokens(1)
    found = engine.translate([["xyzzy", *source], ["<unk>", *source]], model.target_prefix, OPTIONS)
    first, second = tokens(found)
    assert first == second
    assert engine.translate([], model.target_prefix, OPTIONS) == []


def test_many_threads_share_an_engine(model: Emitted) -> None:
    engine = engine_of(model.directory, inter_threads=3)
    sources = model.source_tokens()
    prefix = model.target_prefix
    expected = engine.translate(sources, prefix, OPTIONS)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: engine.translate(sources, prefix, OPTIONS), range(12)):
            assert found == expected


@pytest.mark.parametrize("quantization", ["float32", "int8", "float16"])
def test_files_may_lie_in_memory(model: Emitted, tmp_path: Path, quantization: str) -> None:
    found = emitted(model.domain, tmp_path / "model", quantization)
    files = tree_bytes(found.directory)
    engines: tuple[Engine, ...] = (engine_of(found.directory), engine_of(tmp_path / "nowhere", files=files))
    options = replace(OPTIONS, attention=True)
    on_disk, in_memory = (each.translate(model.source_tokens(), model.target_prefix, options) for each in engines)
    assert on_disk == in_memory
    for (ours,), (theirs,) in zip(on_disk, in_memory, strict=True):
        np.testing.assert_array_equal(ours.attention, theirs.attention)
    for name in ("vocabulary.json", "encoder_model.onnx"):
        with pytest.raises(FmallocError, match=f"nowhere/{name}: missing, but an ONNX model needs it"):
            engine_of(tmp_path / "nowhere", files={key: value for key, value in files.items() if key != name})


def test_what_cannot_be_loaded_is_named(model: Emitted, tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="nowhere/vocabulary.json: cannot be read"):
        engine_of(tmp_path / "nowhere")
    with pytest.raises(FmallocError, match="compute type 'int8': an ONNX model keeps the type"):
        engine_of(model.directory, compute_type="int8")
    with pytest.raises(FmallocError, match="device 'toaster', expected auto, cpu or cuda"):
        OnnxEngine(model.directory, "toaster")
    with pytest.raises(FmallocError, match=r"cannot use CUDA: pip install 'fmalloc\[onnx-gpu\]'"):
        OnnxEngine(model.directory, "cuda")
    files = tree_bytes(model.directory)
    with pytest.raises(FmallocError, match="encoder_model.onnx: ONNX Runtime cannot load it on cpu"):
        engine_of(tmp_path, files={**files, "encoder_model.onnx": b"not a model"})
    vocabulary = files["vocabulary.json"].replace(b'"end": "</s>"', b'"end": "</end>"')
    with pytest.raises(FmallocError, match=r"vocabulary.json: '</end>' is not in the vocabulary"):
        engine_of(tmp_path, files={**files, "vocabulary.json": vocabulary})


def test_sources_that_the_model_has_no_positions_for_are_refused(model: Emitted, engine: OnnxEngine) -> None:
    with pytest.raises(EngineError, match="model: ONNX Runtime failed"):
        engine.translate([model.source_tokens(1)[0] * (POSITIONS + 1)], model.target_prefix, OPTIONS)


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
    bundle = Bundle(tmp_path, manifest.model_copy(update={"engine": info, "maximum_length": POSITIONS}))
    translator = Translator.load(bundle, EngineSettings("cpu", intra_threads=1))
    text = domain.samples[0].source
    expected = engine.translate([tokenizer.encode(text)], tokenizer.target_prefix, TranslationOptions())
    assert translator.translate([text])[0].text == tokenizer.decode(expected[0][0].tokens)


def test_an_onnxruntime_that_is_too_old_is_named(model: Emitted, own_bundles: Path) -> None:
    engine = EngineInfo(name="onnx", minimum_version="99.1", quantization="float32")
    bundle = Bundle.open(write_bundle(own_bundles, "it", golden=()))
    shutil.rmtree(bundle.path / "model")
    shutil.copytree(model.directory, bundle.path / "model")
    bundle = Bundle(bundle.path, bundle.manifest.model_copy(update={"engine": engine}))
    with pytest.raises(FmallocError, match=r"needs ONNX Runtime 99.1 or newer, .* pip install 'onnxruntime>=99.1'"):
        Translator.load(bundle, EngineSettings("cpu"))
