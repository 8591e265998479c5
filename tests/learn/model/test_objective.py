from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from fmalloc.model import objective as projection
from fmalloc.model.architectures import load_base
from fmalloc.model.objective import Projection, logits, masks_of_positions, smoothed_loss, smoothed_sum
from fmalloc.model.text.batches import IGNORED, Batch, Example, collate
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES

POSITIONS = 4 * 7 - 3


def vocabulary_of(model: Any) -> int:
    """As many tokens as both sides have."""
    return min(len(side.weight) for side in (model.get_input_embeddings(), model.get_output_embeddings()))


def batch(vocabulary: int) -> Batch:
    generator = torch.Generator().manual_seed(3)
    source = torch.randint(2, vocabulary - 1, (4, 9), generator=generator)
    target = torch.randint(2, vocabulary - 1, (4, 7), generator=generator)
    target[1, 4:] = IGNORED
    return Batch(source, torch.ones_like(source), target)


def whole(model: Any, given: Batch, smoothing: float) -> torch.Tensor:
    scores, target = logits(model, given).flatten(0, 1), given.target.flatten()
    return F.cross_entropy(scores, target, ignore_index=IGNORED, label_smoothing=smoothing)


@pytest.mark.parametrize("kind", sorted(BASES))
@pytest.mark.parametrize("columns", [1, 5, 10_000])
def test_it_equals_the_loss_of_whole_logits_in_every_family(
    kind: str, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, _, pair = BASES[kind]
    write(tmp_path / "base")
    model, _ = load_base(tmp_path / "base", LanguagePair(*pair))
    monkeypatch.setattr(projection, "_BLOCK", {"cpu": columns * POSITIONS})
    assert (Projection.of(model) is None) == kind.startswith("fsmt")
    weight = model.model.encoder.layers[1].fc1.weight.requires_grad_()
    found = {}
    for name, loss in (("blocks", smoothed_loss), ("whole", whole)):
        value = loss(model, batch(vocabulary_of(model)), 0.1)
        found[name] = (value.detach(), torch.autograd.grad(value, weight)[0])
    torch.testing.assert_close(found["blocks"], found["whole"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(kind for kind in BASES if not kind.startswith("fsmt")))
def test_on_an_accelerator_wider_batches_and_masks_of_positions_give_the_same_logits(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, _, pair = BASES[kind]
    write(tmp_path / "base")
    model, tokenizer = load_base(tmp_path / "base", LanguagePair(*pair))
    lengths, pad = [(3, 9), (11, 2), (5, 5)], tokenizer.pad_token_id
    given = collate([Example([*range(4, 4 + n)], [*range(5, 5 + m)]) for n, m in lengths], pad)
    expected = given.of_tokens(logits(model, given))
    wide = given.ready(torch.device("meta"), model.config)
    assert (wide.source.shape, wide.target.shape) == ((3, 16), (3, 16))
    monkeypatch.setattr(projection, "_masks", lambda _config, batch: masks_of_positions(batch))
    torch.testing.assert_close(wide.of_tokens(logits(model, wide)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("order", [1, -1])
def test_logits_of_any_size_in_any_order_give_a_finite_loss(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "_BLOCK", {"cpu": 6})
    hidden = torch.tensor([[1.0], [-1.0]], dtype=torch.float32, requires_grad=True)
    weight = order * torch.linspace(-5e4, 5e4, 11)[:, None]
    target = torch.tensor([10, 4])
    loss = smoothed_sum(hidden, Projection(weight, torch.zeros(11)), target, 0.1)
    (gradient,) = torch.autograd.grad(loss, hidden)
    expected = F.cross_entropy(hidden @ weight.T, target, label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close((loss, gradient), (expected, *torch.autograd.grad(expected, hidden)))


def test_a_projection_in_training_gets_its_gradient(base: Path) -> None:
    model, _ = load_base(base)
    model.requires_grad_(True)
    assert Projection.of(model) is None
    smoothed_loss(model, batch(vocabulary_of(model)), 0.1).backward()
    assert model.lm_head.weight.grad is not None


def test_in_bfloat16_it_is_as_near_as_bfloat16_is(base: Path) -> None:
    model, _ = load_base(base)
    given = batch(vocabulary_of(model))
    expected = whole(model, given, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(smoothed_loss(model, given, 0.1), expected, atol=0.05, rtol=0.02)
