"""Sparse memory finetuning: only the cells of highest TF-IDF change."""

from pathlib import Path

import pytest
import torch

from fmalloc.methods.method import BASE
from fmalloc.model.objective import nll
from tests.support.methods import learn, make, weights


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_only_the_cells_of_highest_tfidf_change(optimizer: str, base: Path, corpora: Path, tmp_path: Path) -> None:
    settings = {"optimizer": optimizer, "share": 0.25, "learning_rate": 0.5 if optimizer == "sgd" else 5e-3}
    method = make(base, corpora, tmp_path, "sparse-memory", settings, weight_decay=0.1)
    learned = learn(method)
    before = weights(method, BASE)
    for number, task in enumerate(("office", "games")):
        cells = method.trainable(method.start(method.run.recipe.tasks[number], ["office"][:number])).cells
        after = weights(method, task)
        for name, tensor in after.items():
            layer, _, part = name.removeprefix("model.").replace(".layers", "").rpartition(".fc")
            if layer not in cells:
                assert torch.equal(tensor, before[name])
                continue
            changed = (tensor != before[name]).T if part == "2.weight" else tensor != before[name]
            rows = changed.flatten(1).any(1) if changed.dim() > 1 else changed
            if part == "2.bias":
                assert not rows.any()
            else:
                assert len(cells[layer]) == 16
                assert set(rows.nonzero().flatten().tolist()) <= set(cells[layer].tolist())
                assert rows.any()
        before = after
        assert learned[task].curve[-1].nll < learned[task].curve[0].nll
        assert learned[task].trained_parameters == 4 * 16 * 65


def test_what_serves_is_what_was_validated(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "sparse-memory", {"learning_rate": 0.5})
    learned = learn(method)["games"]
    start = method.start(method.run.recipe.tasks[1], ["office"])
    model, tokenizer = method.load("games")
    served = nll(model, start.data.dev, method.run.device, batch_tokens=600, pad=tokenizer.pad_token_id)
    assert served == pytest.approx(learned.curve[-1].nll, abs=1e-5)
    assert learned.curve[0].nll == pytest.approx(start.validator.point(start.model, 0).nll, abs=1e-5)
    assert method.state_of("general", ["office", "games"]) == "games"
