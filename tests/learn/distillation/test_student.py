"""Students: which layers they keep, that they search as models of their depth do, what restores them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fmalloc.distillation.student import check_depth, choose_layers, parameters_of, restore_student, student_of
from fmalloc.model.architectures import load_base
from fmalloc.model.assembly import load_sliced
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import Batch, collate, encode
from fmalloc.store.store import Store
from fmalloc_shared.errors import FmallocError
from tests.support.stores import BASES, PAIRS, write_store

WHERE = Path("model.safetensors")


def sliced(folder: Path, kind: str = "marian", domain: str = "late") -> tuple[Any, Batch]:
    """A domain's model, and a batch for it."""
    store = write_store(folder / "store", kind)
    model, tokenizer = load_sliced(store, domain)
    examples = encode(tokenizer, PAIRS[:4], store.description.languages, maximum_length=60).examples
    return model, collate(examples, tokenizer.pad_token_id)


def base_of(folder: Path) -> Any:
    store = Store.open(folder / "store")
    return load_base(store.base, store.description.languages)[0]


@pytest.mark.parametrize("kind", sorted(BASES))
def test_a_student_is_restored_from_its_tensors_and_searches_like_a_model_of_its_depth(
    kind: str, tmp_path: Path
) -> None:
    teacher, batch = sliced(tmp_path, kind)
    before = logits(teacher, batch)
    student = student_of(teacher, [1]).eval()
    assert torch.equal(logits(teacher, batch), before)
    found = logits(student, batch)
    assert not torch.equal(found, before)
    tensors = {name: tensor.detach().clone() for name, tensor in parameters_of(student).items()}
    again = restore_student(base_of(tmp_path), [1], tensors, WHERE)
    assert torch.equal(logits(again, batch), found)
    # A cache of keys and values counts layers from 0, whichever the student has.
    settings = {"attention_mask": batch.source_mask, "num_beams": 2, "max_new_tokens": 8}
    with_cache, without = (again.generate(batch.source, use_cache=cached, **settings) for cached in (True, False))
    assert torch.equal(with_cache, without)


def test_a_student_may_have_layers_without_cells(tmp_path: Path) -> None:
    teacher, batch = sliced(tmp_path, domain="odd")
    student = student_of(teacher, [0]).eval()
    tensors = {name: tensor.detach().clone() for name, tensor in parameters_of(student).items()}
    again = restore_student(base_of(tmp_path), [0], tensors, WHERE)
    assert torch.equal(logits(again, batch), logits(student, batch))
    assert again.model.decoder.layers[0].fc1.weight.shape[0] == 7


def test_layers_go_one_after_another_by_the_loss_without_them() -> None:
    class Stack(nn.Module):
        """Layers that are told apart by a number."""

        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Module()
            self.model.decoder = nn.Module()
            self.model.decoder.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(4))
            for index, layer in enumerate(self.model.decoder.layers):
                layer.weight.data.fill_(index)

    def loss(model: Any) -> float:
        """Layer 2 is worth most, then 0; 1 is worth something only as long as 3 is there."""
        kept = {int(layer.weight) for layer in model.model.decoder.layers}
        return -(8.0 * (2 in kept) + 4.0 * (0 in kept) + 2.0 * ({1, 3} <= kept) + 1.0 * (3 in kept))

    assert choose_layers(Stack(), 3, loss) == (0, 2, 3)
    assert choose_layers(Stack(), 2, loss) == (0, 2)
    assert choose_layers(Stack(), 1, loss) == (2,)


@pytest.mark.parametrize("depth", [-1, 0, 6, 7])
def test_a_depth_that_is_not_shallower_is_refused(depth: int) -> None:
    with pytest.raises(FmallocError, match=rf"depth {depth}: the model has 6 decoder layers, expected 1 to 5"):
        check_depth(depth, 6)


def test_a_decoder_of_one_layer_has_no_student() -> None:
    with pytest.raises(FmallocError, match="one decoder layer"):
        check_depth(1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model.decoder.layers.0.fc1.bias": torch.zeros(3)},
            r"model\.decoder\.layers\.0\.fc1\.bias is \[3\], expected",
        ),
        ({"model.decoder.layers.0.fc1.weight": torch.zeros(3)}, r"has no model\.decoder\.layers\.0\.fc1\.weight"),
        ({"model.decoder.layers.1.fc1.weight": torch.zeros(3, 16)}, r"layers\.1\.fc1\.weight: not there, or not of"),
        ({"final_logits_bias": torch.full((1, 1), torch.nan)}, "final_logits_bias is"),
        ({"model.encoder.layers.0.fc2.bias": torch.full((16,), torch.nan)}, "NaN or infinite values in .*fc2.bias"),
    ],
)
def test_tensors_that_are_not_the_students_are_refused(
    change: dict[str, torch.Tensor], message: str, tmp_path: Path
) -> None:
    teacher, _ = sliced(tmp_path)
    tensors = {name: tensor.detach().clone() for name, tensor in parameters_of(student_of(teacher, [0])).items()}
    with pytest.raises(FmallocError, match=f"^model.safetensors: .*{message}"):
        restore_student(base_of(tmp_path), [0], tensors | change, WHERE)


def test_layers_that_the_base_lacks_are_refused(tmp_path: Path) -> None:
    sliced(tmp_path)
    with pytest.raises(FmallocError, match=r"is of the decoder layers \[0, 5\], but the base has 2"):
        restore_student(base_of(tmp_path), [0, 5], {}, WHERE)
