"""kNN-MT on tiny models: what is looked up is what was stored, and the mixture is the one that the paper defines."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.experiment.datastore import Datastore, batches_of, datastore, teacher_forced
from benchmarks.experiment.neighbours import (
    Interpolation,
    Retrieved,
    interpolated,
    mixture,
    neighbours,
    retrieved,
    tuned,
)
from fmalloc.corpus import Pair
from fmalloc.evaluation.evaluate import nll_of, translate
from fmalloc.model.architectures import load_base
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES, CORE_BASES, PAIRS

SOURCES = [pair.source for pair in PAIRS]


def loaded(kind: str, folder: Path) -> tuple[Any, Any, LanguagePair]:
    write, _, codes = BASES[kind]
    write(folder / "base")
    languages = LanguagePair(*codes)
    return *load_base(folder / "base", languages), languages


def stored(model: Any, tokenizer: Any, languages: LanguagePair, folder: Path, pairs: Sequence[Pair]) -> Datastore:
    return datastore(model, tokenizer, folder / "base", pairs, languages, folder / "datastore")


@pytest.mark.parametrize("kind", BASES)
def test_a_datastore_of_one_pair_is_translated_word_for_word(kind: str, tmp_path: Path) -> None:
    model, tokenizer, languages = loaded(kind, tmp_path)
    found = stored(model, tokenizer, languages, tmp_path, PAIRS[3:4])
    for size in (1, 4):
        plain = translate(model, tokenizer, SOURCES[3:4], languages, beam_size=size).texts
        with interpolated(model, found, Interpolation(1, 1.0, 1.0)):
            assert translate(model, tokenizer, SOURCES[3:4], languages, beam_size=size).texts == [PAIRS[3].target]
        assert plain != [PAIRS[3].target]


@pytest.mark.parametrize("kind", CORE_BASES)
def test_without_weight_the_search_is_the_plain_one_token_by_token(kind: str, tmp_path: Path) -> None:
    model, tokenizer, languages = loaded(kind, tmp_path)
    found = stored(model, tokenizer, languages, tmp_path, PAIRS)
    for size in (1, 4):
        plain = translate(model, tokenizer, SOURCES, languages, beam_size=size).tokens
        with interpolated(model, found, Interpolation(8, 1.0, 0.0)):
            assert translate(model, tokenizer, SOURCES, languages, beam_size=size).tokens == plain
        with interpolated(model, found, Interpolation(8, 1.0, 0.9)):
            assert translate(model, tokenizer, SOURCES, languages, beam_size=size).tokens != plain
        assert translate(model, tokenizer, SOURCES, languages, beam_size=size).tokens == plain


def test_a_bias_of_the_logits_is_a_part_of_the_model(tmp_path: Path) -> None:
    model, tokenizer, languages = loaded("marian", tmp_path)
    model.final_logits_bias.normal_(std=3.0, generator=torch.Generator().manual_seed(1))
    found = stored(model, tokenizer, languages, tmp_path, PAIRS)
    plain = nll_of(model, tokenizer, PAIRS, languages)
    with interpolated(model, found, Interpolation(8, 1.0, 0.0)):
        assert nll_of(model, tokenizer, PAIRS, languages) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("kind", CORE_BASES)
def test_the_nll_is_that_of_the_definition(kind: str, tmp_path: Path) -> None:
    model, tokenizer, languages = loaded(kind, tmp_path)
    found = stored(model, tokenizer, languages, tmp_path, PAIRS[:6])
    how = Interpolation(4, 30.0, 0.3)
    losses = []
    for target, states, scores in teacher_forced(model, batches_of(model, tokenizer, PAIRS[4:9], languages)):
        for token, state, row in zip(target.tolist(), states.double().numpy(), scores.double(), strict=True):
            distances = ((found.keys.astype(np.float64) - state) ** 2).sum(1)
            near = np.argsort(distances)[: how.neighbours]
            shares = np.exp(-distances[near] / how.temperature)
            right = shares[found.values[near] == token].sum() / shares.sum()
            losses.append(-np.log(0.3 * right + 0.7 * float(torch.softmax(row, 0)[token])))
    expected = float(np.mean(losses))
    with interpolated(model, found, how):
        assert nll_of(model, tokenizer, PAIRS[4:9], languages) == pytest.approx(expected, rel=1e-3)
    assert retrieved(model, tokenizer, found, PAIRS[4:9], languages).nll(how) == pytest.approx(expected, rel=1e-3)


def test_a_mixture_of_any_weight_sums_to_one() -> None:
    own = torch.log_softmax(torch.randn(3, 7, generator=torch.Generator().manual_seed(1)), 1)
    distances, values = torch.tensor([[0.0, 1.0, torch.inf]]).expand(3, -1), torch.tensor([[2, 2, 6]]).expand(3, -1)
    for weight in (0.0, 0.4, 1.0):
        mixed = mixture(own, distances, values, Interpolation(3, 1.0, weight)).exp()
        assert mixed.sum(1).tolist() == pytest.approx([1, 1, 1])
        assert mixed[:, 2].tolist() == pytest.approx((weight + (1 - weight) * own[:, 2].exp()).tolist())


def test_lists_find_most_of_what_comparing_every_key_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer, languages = loaded("marian", tmp_path)
    monkeypatch.setattr("benchmarks.experiment.datastore._PER_LIST", 20)
    found = stored(model, tokenizer, languages, tmp_path, PAIRS)
    assert found.record["lists"] > 4 and found.record["entries"] == len(found.values) == len(found.keys)
    ((_, states, _),) = teacher_forced(model, batches_of(model, tokenizer, PAIRS, languages, 10_000))
    found.index.nprobe = found.record["lists"]
    distances, values = found.search(states, 3)
    assert found.recall(states, 3) == 1.0
    assert distances[:, 0].max() < 0.01  # float16's rounding
    assert (values[:, 0].numpy() == found.values).mean() > 0.98
    found.index.nprobe = 1
    assert 0.4 < found.recall(states, 3) < 1.0


def test_a_datastore_is_built_again_only_for_something_else(tmp_path: Path) -> None:
    model, tokenizer, languages = loaded("marian", tmp_path)
    first = stored(model, tokenizer, languages, tmp_path, PAIRS[:3])
    again = stored(model, tokenizer, languages, tmp_path, PAIRS[:3])
    assert again.record == first.record  # its seconds too
    larger = stored(model, tokenizer, languages, tmp_path, PAIRS[:4])
    assert larger.record["pairs"] == 4 and len(larger.keys) > len(first.keys)
    (tmp_path / "datastore" / "datastore.json").unlink()  # as if killed before it was whole
    (tmp_path / "datastore" / "keys.npy").write_bytes(b"half")
    assert np.array_equal(stored(model, tokenizer, languages, tmp_path, PAIRS[:4]).keys, larger.keys)


def test_pairs_that_are_all_too_long_are_an_error(tmp_path: Path) -> None:
    model, tokenizer, languages = loaded("marian", tmp_path)
    with pytest.raises(FmallocError, match="none of 1 pairs has at most 70 tokens"):
        stored(model, tokenizer, languages, tmp_path, [Pair("xyz" * 100, "xyz" * 100)])


def test_without_faiss_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer, languages = loaded("marian", tmp_path)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(FmallocError, match="pip install faiss-cpu"):
        stored(model, tokenizer, languages, tmp_path, PAIRS)


@pytest.mark.parametrize(("right", "weight"), [(True, 0.9), (False, 0.1)])
def test_the_weight_follows_what_dev_says(right: bool, weight: float) -> None:
    distances = torch.arange(1, 65).double().expand(5, -1)
    dev = Retrieved(torch.zeros(5, 2), distances, torch.full((5, 64), right), torch.full((5,), 0.5).double())
    how, grid = tuned(dev)
    assert how.weight == weight
    assert grid[0]["weight"] == 0 and grid[0]["nll"] == pytest.approx(np.log(2))
    assert min(entry["nll"] for entry in grid[1:]) == dev.nll(how)


def test_near_neighbours_that_are_right_ask_for_a_low_temperature() -> None:
    distances = torch.arange(1, 65).double().expand(5, -1)
    right = torch.zeros(5, 64, dtype=torch.bool)
    right[:, 0] = True
    how, _ = tuned(Retrieved(torch.zeros(5, 2), distances, right, torch.full((5,), 0.01).double()))
    assert how.neighbours == 4 and how.temperature == pytest.approx(32.5 / 64)


def test_the_benchmark_learns_a_domain_without_training(base: Path, corpora: Path, tmp_path: Path) -> None:
    found = neighbours(base, corpora, "office", tmp_path, beam_size=2, sentences=12, pairs=100)
    assert json.loads(json.dumps(found)) == found
    assert (found["sentences"], found["datastore"]["pairs"]) == (12, 100)
    assert found["neighbours"]["bleu"] > found["base"]["bleu"] + 10
    assert found["neighbours"]["nll"] < found["base"]["nll"]
    best = min(found["dev"]["grid"], key=lambda entry: entry["nll"])
    assert found["settings"] == {name: value for name, value in best.items() if name != "nll"}
    assert found["datastore"]["recall"] > 0.9
    assert found["datastore"]["bytes"] == found["datastore"]["entries"] * (2 * 32 + 4)  # d_model 32
