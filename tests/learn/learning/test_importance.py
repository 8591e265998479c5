from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmalloc.corpus import read_corpus
from fmalloc.learning import importance
from fmalloc.learning.importance import cell_importance, divergence, expected_agreement, rank_correlation
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.devices import select
from fmalloc.model.feedforward import MaskedFeedForward, replace
from fmalloc.model.text.batches import Example, TrainingBatches, encode
from fmalloc.store.store import Store
from fmalloc_shared.errors import FmallocError
from tests.support.corpora import LANGUAGES


@pytest.fixture(scope="module")
def examples(base: Path, corpora: Path) -> tuple[Example, ...]:
    pairs = read_corpus(corpora / "general", LANGUAGES).train
    return encode(load_base(base)[1], pairs, LANGUAGES, maximum_length=64).examples


def test_it_is_the_gradient_of_the_divergence(base: Path, examples: tuple[Example, ...]) -> None:
    """The gradient of one cell's mask equals a central difference of J with the same dropout noise."""
    model, tokenizer = load_base(base)
    model.double().train()
    layer = feed_forward_layers(model)[1]
    module = MaskedFeedForward(layer, torch.ones(layer.width).double())
    replace(layer, module)
    batch = TrainingBatches(examples, 300, tokenizer.pad_token_id, 1).batch(0)

    def at(value: float) -> torch.Tensor:
        torch.manual_seed(7)
        with torch.no_grad():
            module.mask[9] = value
        return divergence(model, batch).double()

    step = 1e-2
    numeric = (at(1 + step) - at(1 - step)) / (2 * step)
    module.mask.requires_grad_()
    torch.manual_seed(7)
    with torch.no_grad():
        module.mask[9] = 1.0
    (gradient,) = torch.autograd.grad(divergence(model, batch), module.mask)
    assert gradient[9].item() != 0
    assert gradient[9].item() == pytest.approx(numeric.item(), rel=0.05)


def test_a_cell_that_never_fires_has_no_importance_and_is_reported_dead(
    base: Path, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    model, tokenizer = load_base(base)
    layer = feed_forward_layers(model)[0]
    with torch.no_grad():
        layer.module.fc1.bias[[3, 5]] = -1e4
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    measured = cell_importance(tmp_path, examples, select("cpu"), batches=4, batch_tokens=400, seed=1)
    assert measured.values["encoder.0"][[3, 5]].tolist() == [0.0, 0.0]
    assert measured.record.dead_cells["encoder.0"] == 2
    assert measured.values["encoder.0"].dtype == np.float64


def test_without_dropout_there_is_no_importance(base: Path, examples: tuple[Example, ...], tmp_path: Path) -> None:
    model, tokenizer = load_base(base)
    model.config.dropout = 0.0
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(FmallocError, match="set dropout"):
        cell_importance(tmp_path, examples, select("cpu"), batches=2, batch_tokens=400, seed=1)


def test_more_batches_agree_better(base: Path, examples: tuple[Example, ...]) -> None:
    few, many = (
        cell_importance(base, examples, select("cpu"), batches=count, batch_tokens=600, seed=1).record.rank_correlation
        for count in (4, 40)
    )
    assert many > few


def test_pruning_the_least_important_harms_less_than_pruning_the_most(learned: Path, corpora: Path) -> None:
    store = Store.open(learned)
    losses = []
    for sign in (1, -1):
        model, tokenizer = load_base(store.base)
        for layer in feed_forward_layers(model):
            order = np.argsort(sign * store.importance()[layer.name])
            mask = torch.ones(layer.width)
            mask[torch.from_numpy(order[: layer.width // 5].copy())] = 0
            replace(layer, MaskedFeedForward(layer, mask))
        pairs = read_corpus(corpora / "general", LANGUAGES).test
        batch = TrainingBatches(
            encode(tokenizer, pairs, LANGUAGES, maximum_length=64).examples, 2000, tokenizer.pad_token_id, 1
        ).batch(0)
        target = batch.target.clamp_min(0)
        output = model(input_ids=batch.source, attention_mask=batch.source_mask, labels=target)
        losses.append(float(output.loss))
    assert losses[0] < losses[1]


def test_rank_correlation_with_ties() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([10.0, 20, 30])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0, 1, 2, 3]), np.array([1.0, 1, 2, 3])) == pytest.approx(1)
    assert rank_correlation(np.zeros(4), np.arange(4.0)) == 1


def test_importance_goes_on_where_it_was(
    base: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMALLOC_CHECKPOINT_SECONDS", "0")
    tokenizer = load_base(base)[1]
    pairs = read_corpus(corpora / "general", LANGUAGES).train
    examples = encode(tokenizer, pairs, LANGUAGES, maximum_length=64).examples
    settings: dict[str, Any] = {"batch_tokens": 300, "seed": 1, "partial": tmp_path / "partial.safetensors"}
    cell_importance(base, examples, select("cpu"), batches=3, **settings)
    resumed = cell_importance(base, examples, select("cpu"), batches=6, **settings)
    again = cell_importance(base, examples, select("cpu"), batches=6, **settings | {"partial": None})
    assert resumed.record == again.record
    for layer, values in again.values.items():
        assert values.tolist() == resumed.values[layer].tolist()


def test_it_ends_when_its_ranks_are_stable(base: Path, examples: tuple[Example, ...]) -> None:
    def measured(stable: float | None) -> tuple[int, float]:
        found = cell_importance(base, examples, select("cpu"), batches=45, batch_tokens=100, seed=1, stable=stable)
        return found.record.batches, found.record.rank_correlation

    (whole, agreement), (soon, _), (never, _) = (measured(stable) for stable in (None, 0.3, 0.999999))
    assert (whole, soon, never) == (45, 20, 45)
    enough = expected_agreement(agreement) - 0.02
    count, reached = measured(enough)
    assert 20 <= count <= 45 and count % 5 == 0
    assert count == 45 or expected_agreement(reached) >= enough


def test_a_stop_changes_nothing(base: Path, examples: tuple[Example, ...], tmp_path: Path) -> None:
    """What ends early does so at the same batch after a kill."""
    settings: dict[str, Any] = {"batches": 60, "batch_tokens": 100, "seed": 1, "stable": 0.8}
    whole = cell_importance(base, examples, select("cpu"), **settings)
    partial = tmp_path / "partial.safetensors"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importance, "Interval", Always)
        again = cell_importance(base, examples, select("cpu"), partial=partial, **settings)
    assert partial.exists()
    resumed = cell_importance(base, examples, select("cpu"), partial=partial, **settings)
    for found in (again, resumed):
        assert found.record == whole.record
        assert all(np.array_equal(found.values[name], values) for name, values in whole.values.items())


class Always:
    """Lets every batch be kept."""

    def passed(self) -> bool:
        return True


def test_twice_as_many_agree_as_spearman_and_brown_say() -> None:
    """Halves of true ranks with as much noise: whole measurements agree as predicted."""
    draw = np.random.default_rng(3)
    true = draw.normal(size=20_000)
    first, second, third, fourth = (true + draw.normal(size=true.size) for _ in range(4))
    halves = rank_correlation(first, second)
    assert rank_correlation(first + second, third + fourth) == pytest.approx(expected_agreement(halves), abs=0.02)
    assert expected_agreement(-1.0) == -1.0
