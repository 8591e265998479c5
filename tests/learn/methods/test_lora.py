"""LoRA through peft; what it shares with adapters is tested there."""

from pathlib import Path

import pytest
import torch

from fmalloc.methods.method import BASE
from fmalloc.model.architectures import load_base
from fmalloc_shared.errors import FmallocError
from tests.support.methods import learn, make


def test_changes_have_the_rank_and_the_place_that_was_set(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "lora", {"rank": 2, "targets": ["q_proj", "v_proj"]}, updates=2)
    learn(method, "office")
    assert {name.split(".")[-4] for name in method.parameters_of("office")} == {"q_proj", "v_proj"}
    original = dict(load_base(base)[0].named_parameters())
    changed = {name: p for name, p in method.load("office")[0].named_parameters() if not torch.equal(p, original[name])}
    assert {name.split(".")[-2] for name in changed} == {"q_proj", "v_proj"}
    ranks = {int(torch.linalg.matrix_rank(p - original[name], tol=1e-5)) for name, p in changed.items()}
    assert ranks == {2}


def test_an_unknown_target_is_named(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "lora", {"targets": ["query"]})
    with pytest.raises(FmallocError, match=r"methods\.lora\.targets query"):
        method.insert(method.load(BASE)[0])
