"""Pruning-then-expanding: what was kept and what was filled never changes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fmalloc.learning.data import TaskData
from fmalloc.methods.pte import matrices, smallest
from fmalloc.model.architectures import load_base
from fmalloc.model.objective import nll
from fmalloc_shared.names import GENERAL
from tests.support.methods import learn, make, weights


@pytest.fixture(scope="module")
def pte(base: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = {"sparsity": 0.4, "recovery": 6}
    return make(base, corpora, tmp_path_factory.mktemp("pte"), "pte", settings, weight_decay=0.1)


def test_kept_weights_stay_and_tasks_fill_disjoint_shares(pte: Any, base: Path) -> None:
    learned = {"office": learn(pte, "office")["office"]}
    office = weights(pte, "office")
    learned["games"] = learn(pte, "games", earlier=("office",))["games"]
    assert all(torch.equal(tensor, office[name]) for name, tensor in weights(pte, "office").items())
    games, pruned = weights(pte, "games"), weights(pte, GENERAL)
    original = matrices(load_base(base)[0])
    filled = {"office": 0, "games": 0}
    for name, matrix in pruned.items():
        if name not in original:
            assert torch.equal(matrix, office[name])
            assert torch.equal(matrix, games[name])
            continue
        freed = smallest(original[name], 0.4)
        assert not matrix[freed].any()
        assert torch.equal(office[name][~freed], matrix[~freed])
        assert torch.equal(games[name][~freed], matrix[~freed])
        by_office = office[name] != matrix
        by_games = games[name] != office[name]
        assert not (by_office & by_games).any()
        assert not office[name][by_games].any()
        filled["office"] += int(by_office.sum())
        filled["games"] += int(by_games.sum())
    freed_in_all = sum(round(0.4 * matrix.numel()) for matrix in original.values())
    for task, run in learned.items():
        assert abs(run.trained_parameters - freed_in_all / 2) <= len(original)
        assert 0.9 * run.trained_parameters < filled[task] <= run.trained_parameters
        bits = sum(-(-matrix.numel() // 8) for matrix in original.values())
        assert run.bytes == 4 * run.trained_parameters + bits
        assert run.curve[-1].nll < run.curve[0].nll - 0.1


def test_recovery_brings_back_what_pruning_cost(base: Path, corpora: Path, tmp_path: Path) -> None:
    lost = []
    for updates in (0, 20):
        method = make(base, corpora, tmp_path / str(updates), "pte", {"sparsity": 0.7, "recovery": updates}, updates=1)
        learn(method, "office")
        model, tokenizer = method.load(GENERAL)
        assert all((matrix == 0).float().mean() > 0.69 for matrix in matrices(model).values())
        data = TaskData.of(method.run, GENERAL, tokenizer, method.run.recipe.learning)
        lost.append(nll(model, data.dev, method.run.device, batch_tokens=600, pad=tokenizer.pad_token_id))
    assert lost[1] < lost[0] - 0.1


def test_exactly_the_share_is_freed_whatever_the_ties() -> None:
    mask = smallest(torch.tensor([[0.0, 3.0, 0.0], [-1.0, 0.0, 2.0]]), 1 / 3)
    assert mask.tolist() == [[True, False, True], [False, False, False]]
