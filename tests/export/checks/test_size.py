"""Counts of numbers and operations, against files that CTranslate2 writes and operations that PyTorch counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fmalloc.store.store import Store
from fmalloc_export.checks.size import flops_per_token, megabytes, parameters
from fmalloc_export.compiler import emit
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.transformer import with_cells
from fmalloc_export.domain.vocabulary import needed_tokens
from fmalloc_export.emit import ctranslate2
from tests.support.bases import BASES
from tests.support.compiled import compile_domain
from tests.support.stores import write_store

# Names that stand twice in a file because a table that was shared is not any more, and their lengths.
_NAMES_BYTES = 64


@pytest.fixture(scope="module", params=sorted(BASES))
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp(request.param) / "store", request.param)


def trimmed(domain: Domain, model: DomainModel) -> DomainModel:
    """Without every second target token."""
    needed = needed_tokens(domain.base, domain.tokenizer, domain.vocabulary)
    tokens = enumerate(domain.vocabulary.target)
    kept = [index for index, token in tokens if index % 2 or token in needed]
    return replace(model, target_tokens=np.array(kept, dtype=np.int64))


def size(domain: Domain, model: DomainModel, directory: Path) -> int:
    """Bytes of the float32 model."""
    emit(domain, ctranslate2, model, directory, "float32")
    return (directory / "model.bin").stat().st_size


def test_parameters_differ_by_what_files_differ_by(store: Store, tmp_path: Path) -> None:
    wide, narrow = (compile_domain(store, name) for name in ("it", "odd"))
    domain, fewer = wide.domain, trimmed(wide.domain, wide.after)
    counts = [parameters(domain, model) for model in (wide.after, narrow.after, fewer)]
    sizes = [
        size(domain, model, tmp_path / name)
        for name, model in (("wide", wide.after), ("narrow", narrow.after), ("fewer", fewer))
    ]
    assert counts[0] > counts[1]
    assert sizes[0] - sizes[1] == 4 * (counts[0] - counts[1])
    assert len(fewer.target_tokens) < len(wide.after.target_tokens)
    assert sizes[2] - sizes[0] == pytest.approx(4 * (counts[2] - counts[0]), abs=_NAMES_BYTES)


def test_operations_are_those_that_pytorch_counts(store: Store) -> None:
    compiled = compile_domain(store, "it")
    domain = compiled.domain
    model, token = with_cells(domain.base, compiled.after), torch.tensor([[5]])
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=token, decoder_input_ids=token, use_cache=False)
    products = (torch.ops.aten.mm, torch.ops.aten.addmm)
    counted = sum(counter.get_flop_counts()["Global"].get(product, 0) for product in products)
    width = domain.base.get_decoder().embed_tokens.weight.shape[1]
    unwritten = len(domain.base.get_decoder().embed_tokens.weight) - len(compiled.after.target_tokens)
    assert flops_per_token(domain, compiled.after) == counted - 2 * width * unwritten
    fewer = trimmed(domain, compiled.after)
    saved = len(compiled.after.target_tokens) - len(fewer.target_tokens)
    assert flops_per_token(domain, compiled.after) - flops_per_token(domain, fewer) == 2 * width * saved


def test_a_type_of_weights_says_how_many_bytes_they_take(tmp_path: Path) -> None:
    compiled = compile_domain(write_store(tmp_path / "store"), "it")
    count = parameters(compiled.domain, compiled.after)
    found = {name: megabytes(compiled.domain, compiled.after, name) for name in ctranslate2.QUANTIZATIONS}
    assert {name: round(1e6 * value / count) for name, value in found.items()} == {
        "float32": 4,
        "int8": 1,
        "int8_float32": 1,
        "int8_float16": 1,
        "int8_bfloat16": 1,
        "int16": 2,
        "float16": 2,
        "bfloat16": 2,
    }
