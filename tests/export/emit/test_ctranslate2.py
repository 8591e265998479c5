import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from ctranslate2.converters import transformers as converters

from fmalloc.store.store import Store
from fmalloc_export.emit.ctranslate2 import QUANTIZATIONS, emit, loader_of, specification
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.engines.ctranslate2 import CTranslate2Engine
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.processor import adds_integers_exactly
from tests.support.compiled import compile_domain
from tests.support.stores import BASES, CORE_BASES, ODD_WIDTHS, subprocess_environment, tree_bytes, write_store


@pytest.fixture(scope="module", params=sorted(BASES))
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of each model family and tokenizer."""
    return write_store(tmp_path_factory.mktemp(request.param) / "store", request.param)


@pytest.fixture(scope="module", params=CORE_BASES)
def core_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of the families that differ most."""
    return write_store(tmp_path_factory.mktemp(request.param) / "store", request.param)


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("marian") / "store")


_LOADERS = {
    "BartConfig": "BartLoader",
    "M2M100Config": "M2M100Loader",
    "MBartConfig": "MBartLoader",
    "MarianConfig": "MarianMTLoader",
    "PegasusConfig": "PegasusLoader",
}


def test_the_private_parts_of_the_converter_are_as_relied_upon() -> None:
    for name, loader in _LOADERS.items():
        found = converters._MODEL_LOADERS[name]
        assert type(found).__name__ == loader
        for method in ("get_model_spec", "set_config", "set_vocabulary"):
            assert callable(getattr(found, method))
    # The rest of BART's loader is called through the others'.
    for method in ("set_common_layers", "set_position_encodings", "set_linear"):
        assert callable(getattr(converters.BartLoader, method))
    assert tuple(map(int, ctranslate2.__version__.split(".")[:3])) >= (4, 8, 2)


def test_a_family_without_a_loader_is_refused() -> None:
    class NewConfig:
        model_type = "new"

    class Model:
        config = NewConfig()

    with pytest.raises(FmallocError, match="converts no models with a NewConfig"):
        loader_of(Model())


def test_positions_of_the_model_are_as_many_as_the_manifest_says(store: Store) -> None:
    compiled = compile_domain(store, "general")
    spec = specification(compiled.domain.base)
    for stack in (spec.encoder, spec.decoder):
        assert len(stack.position_encodings.encodings) == compiled.domain.maximum_length


def test_every_layer_has_its_own_width(store: Store, tmp_path: Path) -> None:
    compiled = compile_domain(store, "odd", "float32")
    compiled.emit(tmp_path / "model", "float32")
    expected = {layer: max(width, 1) for layer, width in ODD_WIDTHS.items()}
    assert compiled.after.widths == expected
    # The engine's own file holds the sliced matrices and none of the old width beside the dense decoder.1.
    assert ctranslate2.contains_model(str(tmp_path / "model"))
    dense = compile_domain(store, "general", "float32")
    dense.emit(tmp_path / "general", "float32")
    saved = (sum(dense.after.widths.values()) - sum(expected.values())) * (2 * 16 + 1) * 4
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("general", "model")]
    assert sizes[0] - sizes[1] == saved


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_emission_leaves_the_base_and_the_domain_as_they_were(
    core_store: Store, tmp_path: Path, quantization: str
) -> None:
    compiled = compile_domain(core_store, "it", quantization)
    state = {name: tensor.clone() for name, tensor in compiled.domain.base.state_dict().items()}
    config = compiled.domain.base.config.to_dict()
    cells = [layer.fc1_weight.copy() for layer in compiled.after.feed_forward]
    compiled.emit(tmp_path / "model", quantization)
    assert compiled.domain.base.config.to_dict() == config
    assert not hasattr(compiled.domain.base.config, "normalize_before")
    assert all(torch.equal(tensor, state[name]) for name, tensor in compiled.domain.base.state_dict().items())
    for layer, before in zip(compiled.after.feed_forward, cells, strict=True):
        np.testing.assert_array_equal(layer.fc1_weight, before)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_emission_is_deterministic(core_store: Store, tmp_path: Path, quantization: str) -> None:
    for folder in ("first", "second"):
        compile_domain(core_store, "late", quantization).emit(tmp_path / folder, quantization)
    assert tree_bytes(tmp_path / "first") == tree_bytes(tmp_path / "second")


@pytest.mark.slow
def test_emission_does_not_depend_on_threads_or_process(marian: Store, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, torch; from fmalloc.store.store import Store; from fmalloc_export.compiler import *;"
        "from fmalloc_export.domain.domain import Domain; from fmalloc_export.options import Options;"
        "torch.set_num_threads(2); out = pathlib.Path(sys.argv[2]);"
        "domain = Domain.load(Store.open(pathlib.Path(sys.argv[1])), 'it');"
        "compile_at(domain, Options(quantization='int8')).emit(out, 'int8')"
    )
    environment = subprocess_environment() | {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "5"}
    arguments = [sys.executable, "-c", code, str(marian.path), str(tmp_path / "other")]
    subprocess.run(arguments, env=environment, check=True, timeout=120, capture_output=True)
    compile_domain(marian, "it", "int8").emit(tmp_path / "here", "int8")
    assert tree_bytes(tmp_path / "other") == tree_bytes(tmp_path / "here")


def test_the_float32_bytes_are_those_of_the_learned_weights(marian: Store, tmp_path: Path) -> None:
    compiled = compile_domain(marian, "it", "float32")
    compiled.emit(tmp_path / "model", "float32")
    content = (tmp_path / "model" / "model.bin").read_bytes()
    for name, memory in marian.memory("it").items():
        on = compiled.domain.model.feed_forward[list(memory_names(marian)).index(name)].mask
        rows = np.searchsorted(np.flatnonzero(on), memory.cells)
        block = {layer.name: layer for layer in compiled.after.feed_forward}[name]
        np.testing.assert_array_equal(block.fc1_weight[rows], memory.fc1_weight)
        assert content.count(block.fc1_weight.tobytes()) == 1


def memory_names(store: Store) -> tuple[str, ...]:
    return store.layers


def test_cells_that_are_off_and_empty_layers_are_refused(marian: Store, tmp_path: Path) -> None:
    compiled = compile_domain(marian, "odd", "float32")
    with pytest.raises(FmallocError, match="cells are off, but not cut: run bake-mask"):
        emit(compiled.domain, compiled.domain.model, tmp_path, "float32")
    empty = replace(
        compiled.after.feed_forward[0],
        cells=np.zeros(0, dtype=np.int64),
        mask=np.zeros(0, dtype=np.bool_),
    )
    with pytest.raises(FmallocError, match=r"encoder.0: no cell is left.*run pad-width"):
        emit(compiled.domain, replace(compiled.after, feed_forward=(empty,)), tmp_path, "float32")
    with pytest.raises(FmallocError, match="has layers encoder.1, decoder.0, decoder.1, its base encoder.0"):
        emit(
            compiled.domain, replace(compiled.after, feed_forward=compiled.after.feed_forward[1:]), tmp_path, "float32"
        )
    assert list(tmp_path.iterdir()) == []


def test_hashes_tell_quantizations_apart(marian: Store, tmp_path: Path) -> None:
    digests = {}
    for quantization in QUANTIZATIONS:
        compile_domain(marian, "it", quantization).emit(tmp_path / quantization, quantization)
        content = (tmp_path / quantization / "model.bin").read_bytes()
        digests[quantization] = hashlib.sha256(content).hexdigest()
    assert digests.pop("int8_float32") == digests["int8"]  # it says what else is computed in, which is float32 anyway
    assert len(set(digests.values())) == len(digests)


@pytest.mark.parametrize("quantization", sorted(set(QUANTIZATIONS) - {"float32"}))
def test_quantized_models_score_about_as_the_exact_one(core_store: Store, tmp_path: Path, quantization: str) -> None:
    """Also with a layer without cells, whose weights have no largest value to scale by."""
    compiled = compile_domain(core_store, "odd", quantization)
    tokenizer = compiled.domain.write_tokenizer(tmp_path / "tokenizer")
    scores = []
    for name in ("float32", quantization):
        compiled.emit(tmp_path / name, name)
        translator = ctranslate2.Translator(str(tmp_path / name), device="cpu", intra_threads=1)
        source = tokenizer.encode("der bote wartet auf den regen")
        target = [*tokenizer.target_prefix, *compiled.domain.vocabulary.target[10:30]]
        scores.append(np.array(translator.score_batch([source], [target])[0].log_probs))
    assert np.isfinite(scores[1]).all()
    exact, coarse = {"int8": (0.5, 1.2), "int16": (0.2, 1.2)}.get(quantization.split("_")[0], (0.05, 0.05))
    assert 0 < np.abs(scores[0] - scores[1]).mean() < (exact if adds_integers_exactly() else coarse)


def test_a_bound_on_the_output_does_not_count_the_language_token(core_store: Store, tmp_path: Path) -> None:
    compiled = compile_domain(core_store, "general", "float32")
    compiled.emit(tmp_path / "model", "float32")
    tokenizer = compiled.domain.write_tokenizer(tmp_path / "tokenizer")
    engine = CTranslate2Engine(
        tmp_path / "model", "cpu", intra_threads=1, maximum_length=compiled.domain.maximum_length
    )
    sources = [tokenizer.encode(pair.source) for pair in core_store.samples("general")]
    free, bounded = (
        engine.translate(sources, tokenizer.target_prefix, TranslationOptions(beam_size=1, max_length=length))
        for length in (None, 1)
    )
    assert [best.tokens for (best,) in bounded] == [best.tokens[:1] for (best,) in free]
    assert any(best.tokens for (best,) in free)
