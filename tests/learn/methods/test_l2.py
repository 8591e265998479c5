"""L2: strength 0 is sequential fine-tuning; the penalty leads back to where the task began."""

from pathlib import Path

import torch

from fmalloc.methods.method import BASE
from tests.support.methods import learn, make, parameters, same, sequential, squared_distance


def test_strength_zero_is_sequential(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "l2", {"strength": 0})
    learn(method, "office")
    assert same(parameters(method, "office"), parameters(sequential(base, corpora), "office"))


def test_the_penalty_holds_parameters_back(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "l2", {"strength": 1})
    learn(method, "office")
    held, free = (squared_distance(each, "office", BASE) for each in (method, sequential(base, corpora)))
    assert 0 < held < 0.9 * free


def test_the_penaltys_gradient_leads_back(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "l2", {"strength": 5})
    start = method.start(method.run.recipe.tasks[0], [])
    trainable = method.trainable(start)
    for parameter in trainable.parameters.values():
        parameter.grad = torch.zeros_like(parameter)
        parameter.data += 0.25
    trainable.after_backward()
    for parameter in trainable.parameters.values():
        assert torch.allclose(parameter.grad, torch.tensor(2 * 5 * 0.25), atol=1e-5)
