import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch
from ctranslate2.converters import transformers as converters
from export_fixtures import BASES, ODD_WIDTHS, subprocess_environment, tree_bytes, write_store

from fmalloc.corpus import Languages
from fmalloc.models import load_dense
from fmalloc.store import Store
from fmalloc_export.compiler import compile_domain
from fmalloc_export.ctranslate2 import QUANTIZATIONS, emit, loader_of
from fmalloc_export.tokenizer import check_tokenizer, write_tokenizer
from fmalloc_export.vocabulary import language_token, vocabulary_of
from fmalloc_runtime.engine import CTranslate2Engine, TranslationOptions
from fmalloc_shared.errors import FmallocError


@pytest.fixture(scope="module", params=sorted(BASES))
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of each model family and tokenizer."""
    return write_store(tmp_path_factory.mktemp(request.param) / "store", request.param)


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("marian") / "store")


def languages(store: Store) -> Languages:
    return Languages(store.description.languages.source, store.description.languages.target)


def test_the_private_parts_of_the_converter_are_as_relied_upon() -> None:
    for name, loader in (("MarianConfig", "MarianMTLoader"), ("M2M100Config", "M2M100Loader")):
        found = converters._MODEL_LOADERS[name]
        assert type(found).__name__ == loader
        for method in ("get_model_spec", "set_config", "set_vocabulary"):
            assert callable(getattr(found, method))
    assert tuple(map(int, ctranslate2.__version__.split(".")[:3])) >= (4, 8, 2)


def test_a_family_without_a_loader_is_refused() -> None:
    class NewConfig:
        pass

    class Model:
        config = NewConfig()

    with pytest.raises(FmallocError, match="converts no models with a NewConfig"):
        loader_of(Model())


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


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_quantization_loads_and_translates(store: Store, tmp_path: Path, quantization: str) -> None:
    compiled = compile_domain(store, "odd", quantization)
    compiled.emit(tmp_path / "model", quantization)
    tokenizer = compiled.emit_tokenizer(store, tmp_path / "tokenizer")
    translator = ctranslate2.Translator(str(tmp_path / "model"), device="cpu", intra_threads=1)
    source = tokenizer.encode("der bote wartet")
    prefix = [list(tokenizer.target_prefix)] if tokenizer.target_prefix else None
    result = translator.translate_batch([source], target_prefix=prefix, max_decoding_length=8)
    assert len(result[0].hypotheses[0]) >= 1


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_emission_leaves_the_base_and_the_domain_as_they_were(store: Store, tmp_path: Path, quantization: str) -> None:
    compiled = compile_domain(store, "it", quantization)
    state = {name: tensor.clone() for name, tensor in compiled.base.state_dict().items()}
    config = compiled.base.config.to_dict()
    cells = [layer.fc1_weight.copy() for layer in compiled.after.feed_forward]
    compiled.emit(tmp_path / "model", quantization)
    assert compiled.base.config.to_dict() == config
    assert not hasattr(compiled.base.config, "normalize_before")
    assert all(torch.equal(tensor, state[name]) for name, tensor in compiled.base.state_dict().items())
    for layer, before in zip(compiled.after.feed_forward, cells, strict=True):
        np.testing.assert_array_equal(layer.fc1_weight, before)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_emission_is_deterministic(store: Store, tmp_path: Path, quantization: str) -> None:
    for folder in ("first", "second"):
        compile_domain(store, "late", quantization).emit(tmp_path / folder, quantization)
    assert tree_bytes(tmp_path / "first") == tree_bytes(tmp_path / "second")


def test_emission_does_not_depend_on_threads_or_process(marian: Store, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, torch; from fmalloc.store import Store; from fmalloc_export.compiler import *;"
        "torch.set_num_threads(2); out = pathlib.Path(sys.argv[2]);"
        "compile_domain(Store.open(pathlib.Path(sys.argv[1])), 'it', 'int8').emit(out, 'int8')"
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
        on = compiled.before.feed_forward[list(memory_names(marian)).index(name)].mask
        rows = np.searchsorted(np.flatnonzero(on), memory.cells)
        block = {layer.name: layer for layer in compiled.after.feed_forward}[name]
        np.testing.assert_array_equal(block.fc1_weight[rows], memory.fc1_weight)
        assert content.count(block.fc1_weight.tobytes()) == 1


def memory_names(store: Store) -> tuple[str, ...]:
    return store.layers


def test_cells_that_are_off_and_empty_layers_are_refused(marian: Store, tmp_path: Path) -> None:
    compiled = compile_domain(marian, "odd", "float32")
    arguments = (compiled.base, compiled.tokenizer, compiled.vocabulary)
    with pytest.raises(FmallocError, match="cells are off, but not cut: run bake-mask"):
        emit(*arguments, compiled.before, tmp_path, "float32")
    empty = replace(
        compiled.after.feed_forward[0],
        cells=np.zeros(0, dtype=np.int64),
        mask=np.zeros(0, dtype=np.bool_),
    )
    with pytest.raises(FmallocError, match=r"encoder.0: no cell is left.*run pad-width"):
        emit(*arguments, replace(compiled.after, feed_forward=(empty,)), tmp_path, "float32")
    with pytest.raises(FmallocError, match="has layers encoder.1, decoder.0, decoder.1, its base encoder.0"):
        emit(*arguments, replace(compiled.after, feed_forward=compiled.after.feed_forward[1:]), tmp_path, "float32")
    assert list(tmp_path.iterdir()) == []


def test_vocabularies_are_complete_and_without_repetition(store: Store) -> None:
    model, tokenizer = load_dense(store, "general")
    vocabulary = vocabulary_of(model, tokenizer)
    marian = store.description.family == "marian"
    assert len(vocabulary.target) == model.config.vocab_size - marian
    assert len(set(vocabulary.target)) == len(vocabulary.target)
    assert ("<pad>" in vocabulary.target) != marian
    assert {"</s>", "<unk>"} <= set(vocabulary.special)
    for index, token in enumerate(vocabulary.target):
        if not token.startswith("madeupword"):
            assert tokenizer.convert_tokens_to_ids(token) == index


def test_an_unknown_language_lists_examples(tmp_path: Path) -> None:
    for kind, unknown, example in (("m2m100", "tlh", "am"), ("nllb", "de", "deu_Latn")):
        store = write_store(tmp_path / kind, kind)
        model, tokenizer = load_dense(store, "general")
        vocabulary = vocabulary_of(model, tokenizer)
        with pytest.raises(FmallocError, match=rf"language '{unknown}': .* it knows .*\b{example}\b"):
            language_token(vocabulary, unknown)


def changed_marian(store: Store, **changes: Any) -> Any:
    model, _ = load_dense(store, "general")
    for key, value in changes.items():
        setattr(model.config, key, value)
    return model


def test_a_marian_pad_row_that_drifted_is_refused(marian: Store) -> None:
    model, tokenizer = load_dense(marian, "general")
    with torch.no_grad():
        model.get_input_embeddings().weight[-1, 3] = 0.25
    with pytest.raises(
        FmallocError, match=r"embedding of the pad token \d+: largest absolute value is 0.25, expected 0"
    ):
        vocabulary_of(model, tokenizer)


def test_marian_variants_that_the_engine_would_misread_are_refused(marian: Store) -> None:
    _, tokenizer = load_dense(marian, "general")
    with pytest.raises(FmallocError, match="separate source and target vocabularies"):
        vocabulary_of(changed_marian(marian, share_encoder_decoder_embeddings=False), tokenizer)
    with pytest.raises(FmallocError, match="expected the last token, 71, for both"):
        vocabulary_of(changed_marian(marian, pad_token_id=0), tokenizer)


def test_the_bundled_tokenizer_reads_text_as_the_model_was_trained_to(store: Store, tmp_path: Path) -> None:
    compiled = compile_domain(store, "it", "float32")
    found = compiled.emit_tokenizer(store, tmp_path / "tokenizer")
    texts = [
        "Der Bote, 2-mal: ÄÖÜ ß!",
        "  zwei  Leerzeichen ",
        "漢字 und 😀",
        "x",
        *(p.source for p in store.samples("it")),
    ]
    check_tokenizer(found, compiled.tokenizer, compiled.vocabulary, texts)
    assert found.encode("der bote")[-1] == "</s>"
    described = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())
    prefixes = {"de": ["__de__", "__en__"], "deu_Latn": ["deu_Latn", "eng_Latn"]}
    code = store.description.languages.source
    expected = [] if store.description.family == "marian" else prefixes[code]
    assert described["source_prefix"] + described["target_prefix"] == expected


def test_a_tokenizer_that_reads_otherwise_is_refused(marian: Store, tmp_path: Path) -> None:
    compiled = compile_domain(marian, "it", "float32")
    base = tmp_path / "base"
    base.mkdir()
    for name in ("source.spm", "target.spm"):
        # The two SentencePiece models changed places.
        other = {"source.spm": "target.spm", "target.spm": "source.spm"}[name]
        (base / name).write_bytes((marian.base / other).read_bytes())
    (tmp_path / "out").mkdir()
    arguments = (compiled.tokenizer, compiled.vocabulary, "marian", languages(marian), tmp_path / "out")
    swapped = write_tokenizer(base, *arguments)
    with pytest.raises(FmallocError, match="the bundle's tokenizer reads 'der bote bringt .*' as ▁"):
        check_tokenizer(
            swapped, compiled.tokenizer, compiled.vocabulary, [pair.source for pair in marian.samples("it")]
        )
    (base / "target.spm").unlink()
    with pytest.raises(FmallocError, match=r"target.spm: missing"):
        write_tokenizer(base, *arguments)


def test_hashes_tell_quantizations_apart(marian: Store, tmp_path: Path) -> None:
    digests = set()
    for quantization in QUANTIZATIONS:
        compile_domain(marian, "it", quantization).emit(tmp_path / quantization, quantization)
        digests.add(hashlib.sha256((tmp_path / quantization / "model.bin").read_bytes()).hexdigest())
    assert len(digests) == len(QUANTIZATIONS)


def test_a_bound_on_the_output_does_not_count_the_language_token(store: Store, tmp_path: Path) -> None:
    compiled = compile_domain(store, "general", "float32")
    compiled.emit(tmp_path / "model", "float32")
    tokenizer = compiled.emit_tokenizer(store, tmp_path / "tokenizer")
    engine = CTranslate2Engine(tmp_path / "model", "cpu", intra_threads=1, maximum_length=compiled.maximum_length)
    sources = [tokenizer.encode(pair.source) for pair in store.samples("general")]
    free, bounded = (
        engine.translate(sources, tokenizer.target_prefix, TranslationOptions(beam_size=1, max_length=length))
        for length in (None, 1)
    )
    assert [hypothesis.tokens for hypothesis in bounded] == [hypothesis.tokens[:1] for hypothesis in free]
    assert any(hypothesis.tokens for hypothesis in free)
