"""EWC: the Fisher information is that of single pairs, and decides what may move. L2 holds all parameters alike."""

from pathlib import Path

import torch

from fmalloc.methods.ewc import fisher_information
from fmalloc.methods.method import BASE
from fmalloc.model.assembly import trainable_parameters
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import collate
from tests.support.methods import learn, make, moved, same, sequential, squared_distance


def test_ewc_of_strength_zero_is_sequential(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "ewc", {"strength": 0, "pairs": 2})
    learn(method, "office")
    assert same(method.parameters_of("office"), sequential(base, corpora).parameters_of("office"))


def test_important_parameters_move_less(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "ewc", {"strength": 1e4, "pairs": 50})
    learn(method, "office")
    start = method.start(method.run.recipe.tasks[0], [])
    fisher = torch.cat([tensor.flatten() for tensor in start.left.values()])
    held, free = (moved(each, "office", BASE) for each in (method, sequential(base, corpora)))
    ratio = torch.cat([(held[name] / free[name]).flatten() for name in trainable_parameters(start.model)])
    order = [index for index in fisher.argsort().tolist() if ratio[index].isfinite() and fisher[index] > 0]
    unimportant, important = order[: len(order) // 4], order[-len(order) // 4 :]
    assert ratio[important].median() < 0.7 * ratio[unimportant].median()


def test_fisher_information_squares_the_gradients_of_single_pairs(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "ewc")
    start = method.start(method.run.recipe.tasks[0], [])
    examples, pad = start.data.train[:2], start.tokenizer.pad_token_id
    model = start.model
    bias = model.get_parameter("model.decoder.layers.0.fc2.bias").requires_grad_(True)
    expected = torch.zeros_like(bias)
    for example in examples:
        scores = logits(model, collate([example], pad)).log_softmax(-1)
        likelihood = sum(scores[0, position, token] for position, token in enumerate(example.target))
        expected += torch.autograd.grad(likelihood, bias)[0] ** 2
    tokens = sum(len(example.target) for example in examples)
    found = fisher_information(model, examples, pad)
    assert torch.allclose(found["model.decoder.layers.0.fc2.bias"], expected / tokens, rtol=1e-4, atol=1e-10)


def test_fisher_information_of_all_domains_is_left(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "ewc", {"decay": 0.5, "pairs": 3})
    learn(method)
    name = "fisher.model.shared.weight"
    before, after = (method.load_state(task)[name] for task in ("office", "games"))
    start = method.start(method.run.recipe.tasks[1], ["office"])
    assert torch.equal(start.left[name], before)
    assert set(start.left) == {f"fisher.{name}" for name in trainable_parameters(start.model)}
    assert bool((after >= 0.5 * before).all())
    assert bool((after > 0.5 * before).any())


def test_l2_of_strength_zero_is_sequential(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "l2", {"strength": 0})
    learn(method, "office")
    assert same(method.parameters_of("office"), sequential(base, corpora).parameters_of("office"))


def test_the_l2_penalty_holds_parameters_back(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "l2", {"strength": 1})
    learn(method, "office")
    held, free = (squared_distance(each, "office", BASE) for each in (method, sequential(base, corpora)))
    assert 0 < held < 0.9 * free


def test_the_l2_penaltys_gradient_leads_back(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "l2", {"strength": 5})
    start = method.start(method.run.recipe.tasks[0], [])
    trainable = method.trainable(start)
    for parameter in trainable.parameters.values():
        parameter.grad = torch.zeros_like(parameter)
        parameter.data += 0.25
    trainable.after_backward()
    for parameter in trainable.parameters.values():
        assert torch.allclose(parameter.grad, torch.tensor(2 * 5 * 0.25), atol=1e-5)
