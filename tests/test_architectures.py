import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_recipe
from export_fixtures import write_m2m100, write_nllb
from safetensors.torch import load_file
from transformers import M2M100Config, M2M100ForConditionalGeneration

from fmalloc.architectures import family_of, feed_forward_layers, languages_of, load_base
from fmalloc.batches import Batch
from fmalloc.feedforward import MaskedFeedForward, replace
from fmalloc.objective import logits
from fmalloc.recipe import LanguageSettings
from fmalloc.train import run
from fmalloc_shared.errors import FmallocError


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


def test_a_base_names_its_languages(base: Path, tmp_path: Path) -> None:
    assert languages_of(base) == ("de", "en")
    m2m100().save_pretrained(tmp_path)
    assert family_of(tmp_path).model_type == "m2m_100"
    assert languages_of(tmp_path) is None


def test_the_generation_settings_are_plain(base: Path) -> None:
    model, _ = load_base(base)
    settings = model.generation_config
    assert (settings.forced_eos_token_id, settings.max_length, settings.num_beams) == (None, None, None)
    assert settings.bad_words_ids == [[model.config.pad_token_id]]
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_configuration_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(FmallocError, match="config.json: not a configuration"):
        family_of(tmp_path)


def test_missing_weights_are_named(base: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((base / "config.json").read_text())
    with pytest.raises(FmallocError, match="transformers cannot load this model"):
        load_base(tmp_path)


@pytest.mark.parametrize(("write", "codes"), [(write_m2m100, ("de", "en")), (write_nllb, ("deu_Latn", "eng_Latn"))])
def test_many_language_bases_learn_with_language_tokens(
    write: Callable[[Path], None], codes: tuple[str, str], corpora: Path, tmp_path: Path
) -> None:
    write(tmp_path / "base")
    recipe = small_recipe(tmp_path / "base", corpora, tmp_path / "store", "office", updates=20)
    languages = LanguageSettings(source=codes[0], target=codes[1])
    store = run(recipe.model_copy(update={"languages": languages}))
    store.verify()
    assert store.description.family == "m2m_100"
    assert store.tasks()[0].curve[-1].nll < store.tasks()[0].curve[0].nll
    with pytest.raises(FmallocError, match="language 'xx'"):
        wrong = recipe.model_copy(update={"languages": LanguageSettings(source="xx", target=codes[1])})
        run(wrong.model_copy(update={"store": tmp_path / "other"}))


def test_weights_as_older_checkpoints_have_them_are_converted(base: Path, corpora: Path, tmp_path: Path) -> None:
    older = shutil.copytree(base, tmp_path / "older")
    torch.save(load_file(older / "model.safetensors"), older / "pytorch_model.bin")
    (older / "model.safetensors").unlink()
    recipe = small_recipe(older, corpora, tmp_path / "store", "office", updates=20)
    store = run(recipe)
    assert {path.suffix for path in store.base.iterdir()} == {".json", ".safetensors", ".spm"}
    for name, tensor in load_base(base)[0].state_dict().items():
        assert torch.equal(load_base(store.base)[0].state_dict()[name], tensor)
    assert [task.name for task in run(recipe).tasks()] == ["office"]
