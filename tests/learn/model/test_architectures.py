import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import M2M100Config, M2M100ForConditionalGeneration

from fmalloc.model.architectures import family_of, feed_forward_layers, languages_of, load_base
from fmalloc.model.assembly import load_dense
from fmalloc.model.feedforward import MaskedFeedForward, replace
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import Batch, collate, encode
from fmalloc.recipe.recipe import EvaluationSettings, ImportanceSettings, LanguageSettings
from fmalloc.train import learn_tasks
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import write_marian
from tests.support.corpora import small_recipe
from tests.support.stores import BASES, PAIRS


def m2m100(**changes: Any) -> M2M100ForConditionalGeneration:
    torch.manual_seed(1)
    settings = {
        "vocab_size": 60,
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 40,
    }
    return M2M100ForConditionalGeneration(M2M100Config(**(settings | changes))).eval()


def test_every_layer_of_encoder_and_decoder_is_found() -> None:
    layers = feed_forward_layers(m2m100())
    assert [layer.name for layer in layers] == ["encoder.0", "encoder.1", "decoder.0", "decoder.1", "decoder.2"]
    assert [layer.width for layer in layers] == [24, 24, 40, 40, 40]


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_with_every_cell_on_m2m100_is_untouched_bit_for_bit(activation: str) -> None:
    model = m2m100(activation_function=activation)
    tokens = torch.randint(3, 60, (3, 8), generator=torch.Generator().manual_seed(1))
    batch = Batch(tokens, torch.ones_like(tokens), tokens)
    before = logits(model, batch)
    for layer in feed_forward_layers(model):
        replace(layer, MaskedFeedForward(layer, torch.ones(layer.width)))
    assert torch.equal(logits(model, batch), before)


@pytest.mark.parametrize("kind", sorted(BASES))
def test_with_every_cell_on_every_family_is_untouched_bit_for_bit(kind: str, tmp_path: Path) -> None:
    write, _, codes = BASES[kind]
    write(tmp_path / "base")
    model, tokenizer = load_base(tmp_path / "base", LanguagePair(*codes))
    examples = encode(tokenizer, PAIRS, LanguagePair(*codes), maximum_length=100).examples
    batch = collate(examples, tokenizer.pad_token_id)
    before = logits(model, batch)
    layers = feed_forward_layers(model)
    assert [layer.name for layer in layers] == ["encoder.0", "encoder.1", "decoder.0", "decoder.1"]
    for layer in layers:
        replace(layer, MaskedFeedForward(layer, torch.ones(layer.width)))
    assert torch.equal(logits(model, batch), before)


@pytest.mark.parametrize("kind", sorted(BASES))
def test_no_position_sees_what_is_written_after_it(kind: str, tmp_path: Path) -> None:
    """FSMT leaves out the causal mask where the configuration asks for a cache."""
    write, _, codes = BASES[kind]
    write(tmp_path / "base")
    model, _ = load_base(tmp_path / "base", LanguagePair(*codes))
    first, second = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[5, 6, 9, 4]])
    with torch.inference_mode():
        one, other = (model(input_ids=first, decoder_input_ids=ids).logits for ids in (first, second))
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2:], other[:, 2:])


def test_fsmt_never_writes_padding(tmp_path: Path) -> None:
    BASES["fsmt"][0](tmp_path / "base")
    model, _ = load_base(tmp_path / "base")
    ids = torch.tensor([[5, 6, 7, 2]])
    assert float(model(input_ids=ids, decoder_input_ids=ids).logits.softmax(-1)[..., 1].max()) == 0.0


def test_a_base_names_its_languages(base: Path, tmp_path: Path) -> None:
    assert languages_of(base) == LanguagePair("de", "en")
    BASES["fsmt"][0](tmp_path / "fsmt")
    assert languages_of(tmp_path / "fsmt") == LanguagePair("de", "en")
    assert languages_of(base, target="fr") == LanguagePair("de", "fr")
    for kind in ("m2m100", "nllb", "mbart"):
        BASES[kind][0](tmp_path / kind)
        with pytest.raises(FmallocError, match=r"names no source language; set .*\(--source\), one of .*de"):
            languages_of(tmp_path / kind)


def test_the_generation_settings_are_plain(base: Path) -> None:
    model, _ = load_base(base)
    settings = model.generation_config
    assert (settings.forced_eos_token_id, settings.max_length, settings.num_beams) == (None, None, None)
    assert settings.bad_words_ids == [[model.config.pad_token_id]]
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON in UTF-8"),
        ("[]", "expected a JSON object"),
        ("{}", "not a configuration that names its model_type"),
        ('{"model_type": ["marian"]}', "not a configuration that names its model_type"),
        ('{"model_type": "bart", "model_type": "marian"}', ".*key 'model_type' is given twice"),
    ],
)
def test_a_damaged_configuration_is_named(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(FmallocError, match=f"config.json: {complaint}"):
        family_of(tmp_path)


@pytest.mark.parametrize("kind", sorted(set(BASES) - {"marian", "fsmt-joint"}))
def test_every_family_learns_and_leaves_protected_weights_alone(kind: str, corpora: Path, tmp_path: Path) -> None:
    write, family, codes = BASES[kind]
    write(tmp_path / "base")
    learning = {
        "updates": 12,
        "anneal_updates": 12,
        "validate_every": 12,
        "validation_sentences": 1,
        "batch_tokens": 300,
    }
    recipe = small_recipe(tmp_path / "base", corpora, tmp_path / "store", "office", **learning)
    changes = {
        "languages": LanguageSettings(source=codes[0], target=codes[1]),
        "importance": ImportanceSettings(batches=2, batch_tokens=300),
        "evaluation": EvaluationSettings(sentences=1, beam_size=1),
    }
    store = learn_tasks(recipe.model_copy(update=changes))
    store.verify()
    task = store.tasks()[0]
    assert store.description.family == family
    assert task.curve[-1].nll < task.curve[0].nll
    owned = {layer: memory.cells for layer, memory in store.memory("office").items()}
    assert sum(map(len, owned.values())) > 0
    before, after = (
        load_base(store.base, LanguagePair(*codes))[0].state_dict(),
        load_dense(store, "office")[0].state_dict(),
    )
    for name, tensor in before.items():
        found = re.fullmatch(r"model\.(encoder|decoder)\.layers\.(\d+)\.(fc1\.weight|fc1\.bias|fc2\.weight)", name)
        protected = torch.ones(tensor.shape, dtype=torch.bool)
        if found:
            cells = torch.from_numpy(owned[f"{found[1]}.{found[2]}"])
            protected.index_fill_(1 if found[3] == "fc2.weight" else 0, cells, False)
        assert torch.equal(after[name][protected], tensor[protected]), name


@pytest.mark.parametrize("kind", ["m2m100", "nllb", "mbart", "mbart50"])
def test_a_language_that_a_base_does_not_know_is_named(kind: str, tmp_path: Path) -> None:
    BASES[kind][0](tmp_path / "base")
    with pytest.raises(FmallocError, match="language 'er'"):  # a piece of its vocabulary
        load_base(tmp_path / "base", LanguagePair("er", BASES[kind][2][1]))


def test_opus_mt_loads_as_published(tmp_path: Path) -> None:
    """A tokenizer named by the model's family, settings of search in the configuration, tensors that are computed."""
    published = tmp_path / "base"
    BASES["marian"][0](published)
    weights = load_file(published / "model.safetensors")
    expected = load_base(published)[0]
    save_file(tied_apart(expected.state_dict()), published / "model.safetensors")
    (published / "tokenizer_config.json").write_text('{"target_lang": "en", "source_lang": "de"}')
    config = json.loads((published / "config.json").read_text())
    pad = config["pad_token_id"]
    older = {
        "_num_labels": 3,
        "add_bias_logits": False,
        "add_final_layer_norm": False,
        "bad_words_ids": [[pad]],
        "extra_pos_embeddings": pad + 1,
        "force_bos_token_to_be_generated": False,
        "forced_eos_token_id": 0,
        "max_length": 512,
        "normalize_before": False,
        "normalize_embedding": False,
        "num_beams": 6,
        "static_position_embeddings": True,
    }
    (published / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "dtype"} | older))
    search = {"bad_words_ids": [[pad]], "max_length": 512, "num_beams": 6, "renormalize_logits": True}
    (published / "generation_config.json").write_text(json.dumps(search))
    model, tokenizer = load_base(published, LanguagePair("de", "en"))
    assert (model.generation_config.num_beams, model.generation_config.max_length) == (None, None)
    assert set(weights) <= set(model.state_dict())
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert tokenizer("der bote")["input_ids"][-1] == 0
    assert languages_of(published) == LanguagePair("de", "en")


def tied_apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that a file can hold: none shares memory with another."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("encoder_layers", 2**40, "encoder_layers 1099511627776: expected a whole number from 1 to 16777216"),
        ("decoder_layers", 1_000_000, "describes a model of at least .* parameters, but its files have"),
        ("vocab_size", 2**24, "describes a model of at least"),
        ("max_position_embeddings", 2**24, "describes a model of"),
        ("d_model", "16", "d_model 16: expected a whole number"),
        ("encoder_ffn_dim", -1, "encoder_ffn_dim -1: expected a whole number"),
    ],
)
def test_a_model_is_not_made_larger_than_its_files(tmp_path: Path, key: str, value: object, complaint: str) -> None:
    write_marian(tmp_path / "base")
    config = tmp_path / "base" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: value}))
    with pytest.raises(FmallocError, match=f"config.json: {complaint}"):
        load_base(tmp_path / "base")


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "vocab.json", "model.safetensors", "source.spm"]
)
def test_a_base_is_plain_files(tmp_path: Path, name: str) -> None:
    write_marian(tmp_path / "base")
    (tmp_path / "base" / name).unlink()
    os.mkfifo(tmp_path / "base" / name)
    with pytest.raises(FmallocError, match=f"{name}: is a FIFO, expected a plain file"):
        load_base(tmp_path / "base")
