"""A base is whole or it is refused: every kind of damage to every kind of tensor, by name."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from fmalloc.model.architectures import load_base
from fmalloc.model.base import stored_precision
from fmalloc.train import learn_tasks
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES
from tests.support.corpora import small_recipe

Tensors = dict[str, torch.Tensor]

# A tensor of every kind that the families have; each family has most of them.
KINDS = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "model.decoder.output_projection.weight",
    "model.encoder.layers.0.self_attn.q_proj.weight",
    "model.decoder.layers.1.encoder_attn.v_proj.bias",
    "model.decoder.layers.0.self_attn.out_proj.weight",
    "model.encoder.layers.1.fc1.weight",
    "model.encoder.layers.1.fc1.bias",
    "model.decoder.layers.1.fc2.weight",
    "model.decoder.layers.0.final_layer_norm.weight",
    "model.encoder.layer_norm.bias",
    "model.decoder.layernorm_embedding.weight",
)


class Damage(NamedTuple):
    """What is done to a tensor, and what the error says of it."""

    apply: Callable[[Tensors, str], None]
    message: str


def missing(tensors: Tensors, name: str) -> None:
    del tensors[name]


def misshapen(tensors: Tensors, name: str) -> None:
    tensors[name] = torch.cat([tensors[name], tensors[name][:1]])


def unexpected(tensors: Tensors, name: str) -> None:
    tensors[f"{name}_copy"] = tensors[name].clone()


def infinite(tensors: Tensors, name: str) -> None:
    tensors[name].view(-1)[-1] = torch.inf


def not_a_number(tensors: Tensors, name: str) -> None:
    tensors[name].view(-1)[0] = torch.nan


def integer(tensors: Tensors, name: str) -> None:
    tensors[name] = tensors[name].to(torch.int8)


DAMAGE = {
    "missing": Damage(missing, ": missing "),
    "misshapen": Damage(misshapen, "of another shape "),
    "unexpected": Damage(unexpected, "unexpected "),
    "infinite": Damage(infinite, "NaN or infinite values in "),
    "nan": Damage(not_a_number, "NaN or infinite values in "),
    "integer": Damage(integer, " is I8; expected float64, float32"),
}


FAMILIES = ("marian", "marian-larger", "m2m100", "mbart", "fsmt")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of every family that stores other tensors."""
    folder = tmp_path_factory.mktemp("bases")
    for kind in FAMILIES:
        BASES[kind][0](folder / kind)
    return folder


def cases(path: Path) -> list[tuple[str, str]]:
    tensors = load_file(path / "model.safetensors")
    return [(name, how) for name in KINDS if name in tensors for how in DAMAGE]


def test_damage_is_named(written: Path, tmp_path: Path) -> None:
    damage_is_named(written / "marian", cases(written / "marian")[:: len(DAMAGE) + 1], "marian", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_damage_to_every_tensor_is_named(kind: str, written: Path, tmp_path: Path) -> None:
    found = cases(written / kind)
    assert len(found) >= 8 * len(DAMAGE)
    damage_is_named(written / kind, found, kind, tmp_path)


def damage_is_named(whole: Path, damage: list[tuple[str, str]], kind: str, tmp_path: Path) -> None:
    base = shutil.copytree(whole, tmp_path / "base")
    for name, how in damage:
        tensors = load_file(whole / "model.safetensors")
        DAMAGE[how].apply(tensors, name)
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(FmallocError) as error:
            load_base(base, LanguagePair(*BASES[kind][2]))
        for part in (str(base), DAMAGE[how].message, name if how != "unexpected" else f"{name}_copy"):
            assert part in str(error.value), (name, how)


def test_tensors_that_are_computed_may_be_stored_and_need_not(written: Path, tmp_path: Path) -> None:
    for kind, names in {
        "marian": ["model.encoder.embed_positions.weight", "final_logits_bias"],
        "m2m100": ["model.encoder.embed_positions.weights", "model.decoder.embed_positions._float_tensor"],
        "mbart": ["model.encoder.version", "final_logits_bias"],
    }.items():
        base = shutil.copytree(written / kind, tmp_path / kind)
        before = load_base(base)[0].state_dict()
        tensors = load_file(base / "model.safetensors")
        for name in names:
            tensors[name] = before.get(name, torch.zeros(3)).clone()
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
        assert all(torch.equal(tensor, before[name]) for name, tensor in load_base(base)[0].state_dict().items())
        tensors.pop("final_logits_bias", None)
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
        load_base(base)


def test_a_damaged_base_is_refused_before_anything_is_written(base: Path, corpora: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(base, tmp_path / "damaged")
    tensors = load_file(damaged / "model.safetensors")
    not_a_number(tensors, "model.encoder.layers.0.fc1.weight")
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FmallocError, match=r"NaN or infinite values in model.encoder.layers.0.fc1.weight"):
        learn_tasks(small_recipe(damaged, corpora, tmp_path / "store", "office", updates=20))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"])
def test_weights_that_are_no_safetensors_are_refused(name: str, written: Path, tmp_path: Path) -> None:
    base = shutil.copytree(written / "marian", tmp_path / "a base")
    (base / "model.safetensors").rename(base / name)
    with pytest.raises(FmallocError, match=rf"{name}: only safetensors are read.* python -c '.*save_pretrained"):
        load_base(base)
    (base / name).unlink()
    with pytest.raises(FmallocError, match=r"model.safetensors: no such file; expected a model as transformers"):
        load_base(base)


@pytest.mark.slow
def test_the_conversion_that_the_message_names_works(written: Path, tmp_path: Path) -> None:
    base = shutil.copytree(written / "marian", tmp_path / "a base")
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(FmallocError) as error:
        load_base(base)
    command = str(error.value).partition("convert it once: ")[2].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True, timeout=120)
    before, after = load_base(written / "marian")[0].state_dict(), load_base(base)[0].state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_float32(kind: torch.dtype, written: Path, tmp_path: Path) -> None:
    base = shutil.copytree(written / "marian", tmp_path / "base")
    stored = {name: tensor.to(kind) for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(stored, base / "model.safetensors", metadata={"format": "pt"})
    assert stored_precision(base) == str(kind).removeprefix("torch.")
    state = load_base(base)[0].state_dict()
    for name, tensor in stored.items():
        assert state[name].dtype == torch.float32
        assert torch.equal(state[name], tensor.float())
