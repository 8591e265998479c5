"""Adapters: a task's own modules on a base that stays as it is."""

from pathlib import Path

import pytest
import torch

from fmalloc.methods import method_of
from fmalloc.methods.adapter import Adapter, Bottleneck
from fmalloc.methods.method import BASE
from fmalloc.model.architectures import load_base
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import collate, encode
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES, PAIRS
from tests.support.methods import learn, make


@pytest.mark.parametrize("kind", ["marian", "m2m100", "fsmt"])
@pytest.mark.parametrize("name", ["adapter", "lora"])
def test_modules_change_nothing_until_trained_and_serve_what_was_trained(kind: str, name: str, tmp_path: Path) -> None:
    write, _, codes = BASES[kind]
    write(tmp_path / "base")
    model, tokenizer = load_base(tmp_path / "base", LanguagePair(*codes))
    method_type = method_of(name)
    method = method_type(None, tmp_path, method_type.settings_type())  # type: ignore[arg-type]
    batch = collate(encode(tokenizer, PAIRS, LanguagePair(*codes), maximum_length=100).examples, tokenizer.pad_token_id)
    before, kind_of_model = logits(model, batch), type(model)
    method.insert(model)  # type: ignore[attr-defined]
    torch.testing.assert_close(logits(model, batch), before)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "lora_B" in path or ".up." in path:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    trained = logits(model, batch)
    assert not torch.allclose(trained, before, atol=1e-3)
    model = method.fold(model)  # type: ignore[attr-defined]
    torch.testing.assert_close(logits(model, batch), trained, rtol=1e-3, atol=1e-3)
    assert type(model) is kind_of_model


def test_adapters_stand_behind_attention_and_feed_forward(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "adapter", {"bottleneck": 4})
    model, _ = method.load(BASE)
    method.insert(model)
    places = {path.split(".", 3)[-1] for path, module in model.named_modules() if isinstance(module, Bottleneck)}
    assert places == {"0.self_attn.out_proj", "1.self_attn.out_proj", "0.encoder_attn.out_proj"} | {
        "1.encoder_attn.out_proj",
        "0.fc2",
        "1.fc2",
    }
    assert model.model.encoder.layers[0].fc2.down.weight.shape == (4, 32)


@pytest.mark.parametrize("name", ["adapter", "lora"])
def test_a_task_keeps_its_modules_alone_and_learns(name: str, base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path / "a", name)
    learned = learn(method)
    state = method.parameters_of("office")
    assert learned["office"].trained_parameters == sum(tensor.numel() for tensor in state.values()) < 40_000
    assert learned["office"].curve[-1].nll < learned["office"].curve[0].nll - 0.1
    model, tokenizer = method.load("office")
    original = dict(load_base(base)[0].named_parameters())
    kept = {
        n.replace(".projection", ""): p for n, p in model.named_parameters() if ".down." not in n and ".up." not in n
    }
    same = {name for name, parameter in kept.items() if torch.equal(parameter, original[name])}
    projections = {name for name in original if name.endswith("_proj.weight") or (".fc" in name and "weight" in name)}
    assert kept.keys() == original.keys()
    assert original.keys() - same == (projections if name == "lora" else set())
    ids = tokenizer(["Der Hund sieht die Maus heute."], return_tensors="pt")
    assert model.generate(**ids, num_beams=2, max_new_tokens=10).shape[0] == 1


def test_tasks_are_independent_and_repeat(base: Path, corpora: Path, tmp_path: Path) -> None:
    one, other = (make(base, corpora, tmp_path / folder, "adapter") for folder in "ab")
    learn(one, "office", "games")
    learn(other, "games")
    paths = [method.folder / "games" / "state.safetensors" for method in (one, other)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert not Adapter.ordered
    assert one.state_of("general", ["office"]) == BASE
