"""TF-IDF of cells, and what it is used for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from fmalloc.learning.cells.tfidf import activation_mass, best_cells, tfidf
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import Example, collate, encode
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES, PAIRS, WIDTH


def test_scores_of_a_table_worked_out_by_hand() -> None:
    task = np.array([[3.0, 0, 1, 0], [1, 0, 3, 0]])
    background = np.array([[5.0, 1, 0, 0], [2, 0, 0, 0], [1, 0, 1, 0]])
    expected = [0.5 * np.log(4 / 4), 0, 0.5 * np.log(4 / 2), 0]
    assert tfidf(task, background) == pytest.approx(expected)


def test_the_best_cells_among_some_with_ties_by_index() -> None:
    scores = np.array([9.0, 1.0, 2.0, 1.0, 0.0, 1.0])
    assert best_cells(scores, 3, np.array([1, 2, 3, 4, 5])).tolist() == [1, 2, 3]
    assert best_cells(scores, 9, np.array([4, 5])).tolist() == [4, 5]


@pytest.mark.parametrize("kind", ["marian", "m2m100", "fsmt"])
def test_padding_is_not_counted_in_any_family(kind: str, tmp_path: Path) -> None:
    write, _, codes = BASES[kind]
    write(tmp_path / "base")
    model, tokenizer = load_base(tmp_path / "base", LanguagePair(*codes))
    examples = encode(tokenizer, PAIRS, LanguagePair(*codes), maximum_length=100).examples
    assert len({len(example.source) for example in examples}) > 1
    together = activation_mass(model, [collate(examples, tokenizer.pad_token_id)])
    alone = activation_mass(model, [collate([example], tokenizer.pad_token_id) for example in examples])
    for layer, mass in together.items():
        assert mass.shape == (1, WIDTH)
        assert mass.sum() > 0
        np.testing.assert_allclose(mass[0], alone[layer].sum(0), rtol=1e-4)


def test_mass_is_that_of_the_untrained_mode(tmp_path: Path) -> None:
    BASES["marian"][0](tmp_path / "base")
    model, _ = load_base(tmp_path / "base")
    batch = collate([Example([3, 4, 5, 0], [3, 4, 0])], 0)
    seen: list[Tensor] = []

    def note(_module: Any, inputs: tuple[Tensor]) -> None:
        seen.append(inputs[0][0].abs().sum(0))

    handle = feed_forward_layers(model)[0].module.fc2.register_forward_pre_hook(note)
    logits(model, batch)
    handle.remove()
    mass = activation_mass(model.train(), [batch])["encoder.0"][0]
    assert model.training
    np.testing.assert_allclose(mass, seen[0].numpy(), rtol=1e-5)
