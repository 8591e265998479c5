"""The layer whose attention aligns words, and the alignments that come out of the engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch

from fmalloc.corpus import Pair
from fmalloc.model.assembly import load_masked
from fmalloc.model.text.batches import Example, encode
from fmalloc.store.store import Store
from fmalloc_export.compiler import Compiled
from fmalloc_export.domain.alignment import Alignment, choose_alignment, copied_tokens, last_layer
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.vocabulary import Vocabulary
from fmalloc_export.emit import ctranslate2 as ctranslate2_emitter
from fmalloc_export.emit import onnx
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.engines.ctranslate2 import CTranslate2Engine
from fmalloc_runtime.engines.onnx import OnnxEngine
from tests.support.compiled import compile_domain
from tests.support.stores import write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("marian") / "store")


def vocabulary_with(*tokens: str) -> Vocabulary:
    tokens = ("</s>", "<unk>", *tokens)
    return Vocabulary(tokens, tokens, special=("</s>", "<unk>"), unknown="<unk>", end="</s>")


def test_tokens_that_stand_once_on_both_sides_are_copies() -> None:
    vocabulary = vocabulary_with("▁12", ",", "▁der", "Ġx", "7</w>", "▁")
    comma, number = vocabulary.source.index(","), vocabulary.source.index("▁12")
    der, name, last, space = (vocabulary.source.index(token) for token in ("▁der", "Ġx", "7</w>", "▁"))
    examples = [
        Example([number, comma, 0], [comma, number, 0]),
        Example([number, number, last, 1, 0], [last, number, 1, 0]),
        Example([name, space, 0], [space, name, 0]),
        *[Example([der, 0], [der, 0])] * 5,
    ]
    expected = [[(0, 1), (1, 0)], [(0, 2)], [(1, 0)], *[[]] * 5]
    assert copied_tokens(examples, vocabulary) == expected
    assert copied_tokens(examples[:4], vocabulary)[3] == [(0, 0)]  # a word that is rare may be a name


def aligned(compiled: Compiled, right: int) -> Any:
    """Make one decoder layer attend where it stands: positions are all that its queries and keys see.

    The other layers attend to all source tokens alike.
    """
    model = compiled.domain.base
    order = torch.arange(16).view(2, 8).T.flatten()  # a sine beside its cosine, so that heads see both
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight *= 1e-3  # shared by the encoder
        for stack in (model.model.encoder, model.model.decoder):
            for layer in stack.layers:
                for module in (layer.self_attn.out_proj, layer.fc2):
                    module.weight.zero_()
                    module.bias.zero_()
        for index, layer in enumerate(model.model.decoder.layers):
            attention = layer.encoder_attn
            attention.out_proj.weight.zero_()
            attention.out_proj.bias.zero_()
            for module in (attention.q_proj, attention.k_proj):
                module.weight.copy_(torch.eye(16)[order] * (6.0 if index == right else 0.0))
                module.bias.zero_()
    return model


def copying(compiled: Compiled) -> list[Example]:
    """Pairs of unlike tokens in the same order on both sides."""
    ids = [i for i, token in enumerate(compiled.domain.vocabulary.target) if token.strip("▁").isalpha()]
    return [Example([*ids[start : start + 6], 0], [*ids[start : start + 6], 0]) for start in range(0, 48, 6)]


@pytest.mark.parametrize("right", [0, 1])
def test_the_layer_that_looks_at_the_source_of_copies_is_found(
    store: Store, tmp_path: Path, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = compile_domain(store, "general")
    model, examples = aligned(compiled, right), copying(compiled)
    before = model.config._attn_implementation
    found = choose_alignment(model, compiled.domain.vocabulary, examples)
    assert found == Alignment(layer=right, heads=2)
    assert model.config._attn_implementation == before
    assert compile_domain(store, "general").domain.base.config._attn_implementation == before
    without = [Example(example.source, [0]) for example in examples]
    assert (
        choose_alignment(model, compiled.domain.vocabulary, without) == last_layer(model) == Alignment(layer=1, heads=2)
    )
    monkeypatch.setattr(Domain, "alignment", found)
    ctranslate2_emitter.emit(replace(compiled.domain, base=model), zeroed(compiled), tmp_path, "float32")
    translator = ctranslate2.Translator(str(tmp_path), device="cpu", intra_threads=1)
    source = [compiled.domain.vocabulary.source[index] for index in examples[0].source]
    result = translator.translate_batch([source], return_attention=True, max_decoding_length=5, min_decoding_length=5)
    attention = np.array(result[0].attention[0])
    assert attention.shape == (len(result[0].hypotheses[0]), len(source))
    assert np.diag(attention).mean() > 2 / len(source)  # attention to all alike has half of that


def zeroed(compiled: Compiled) -> Any:
    """The domain with the values of all its cells at 0, as `aligned` has them."""
    layers = (
        replace(layer, fc2_weight=np.zeros_like(layer.fc2_weight), fc2_bias=np.zeros_like(layer.fc2_bias))
        for layer in compiled.after.feed_forward
    )
    return replace(compiled.after, feed_forward=tuple(layers))


@pytest.mark.parametrize("kind", ["bart", "mbart50", "fsmt"])
def test_the_engines_alignments_are_the_chosen_layers_attention(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "store", kind)
    compiled = compile_domain(store, "general")
    tokenizer = compiled.domain.write_tokenizer(tmp_path / "tokenizer")
    model, vocabulary = load_masked(store, "general")[0], compiled.domain.vocabulary
    pairs = [Pair(f"{pair.source} .", f"{pair.target} .") for pair in store.samples("general")]
    examples = encode(compiled.domain.tokenizer, pairs, compiled.domain.languages, maximum_length=100).examples
    chosen = choose_alignment(model, vocabulary, examples)
    assert chosen == choose_alignment(model, vocabulary, examples)
    assert chosen.heads == 2
    model.set_attn_implementation("eager")
    monkeypatch.setattr(Domain, "alignment", chosen)
    sources = [tokenizer.encode(text) for text in ("der bote bringt den brief", "der hund", "die katze sieht den hund")]
    ids = {token: index for index, token in enumerate(vocabulary.source)}
    prompt = [model.config.decoder_start_token_id, *map(vocabulary.target.index, tokenizer.target_prefix)]
    for emitter, engine_of in ((ctranslate2_emitter, CTranslate2Engine), (onnx, OnnxEngine)):
        directory = tmp_path / emitter.NAME
        directory.mkdir()
        emitter.emit(compiled.domain, compiled.after, directory, "float32")
        engine = engine_of(directory, "cpu", intra_threads=1)
        options = TranslationOptions(4, 8, hypotheses=2, attention=True)
        for source, found in zip(sources, engine.translate(sources, tokenizer.target_prefix, options), strict=True):
            for hypothesis in found:
                written = [vocabulary.target.index(token) for token in hypothesis.tokens]
                with torch.inference_mode():
                    reference = model(
                        input_ids=torch.tensor([[ids.get(token, ids[vocabulary.unknown]) for token in source]]),
                        decoder_input_ids=torch.tensor([[*prompt, *written]]),
                        output_attentions=True,
                    ).cross_attentions[chosen.layer]
                expected = reference[0].mean(0).numpy()[len(prompt) - 1 :][: len(written)]
                np.testing.assert_allclose(hypothesis.attention, expected, atol=1e-5)
