"""k-FPF: when it replays, what it replays, and what replay changes."""

from pathlib import Path

import pytest
import torch

from fmalloc.methods.kfpf import Rhythm, most_sensitive
from fmalloc.model.assembly import module_of
from fmalloc.model.text.batches import IGNORED
from tests.support.methods import learn, make, same, sequential


def test_replay_ends_each_period_and_is_part_of_the_updates() -> None:
    rhythm = Rhythm(updates=100, periods=5, share=0.25)
    replays = [update for update in range(100) if rhythm.replays(update)]
    assert replays == [start + late for start in range(0, 100, 20) for late in range(15, 20)]
    assert not any(Rhythm(10, 2, 0.0).replays(update) for update in range(10))


def test_without_replay_it_is_sequential(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "k-fpf", {"share": 0})
    learn(method, "office")
    assert same(method.parameters_of("office"), sequential(base, corpora).parameters_of("office"))


def test_replay_changes_the_prone_modules_alone(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "k-fpf", {"k": 1, "share": 0.5, "modules": 0.3})
    start = method.start(method.run.recipe.tasks[0], [])
    trainable, batches, optimizer = method.trainable(start), method.batches(start), None
    left_alone = {id(parameter) for parameter in trainable.left_alone}
    optimizer = trainable.optimizer()
    for update in range(6):
        before = {name: tensor.detach().clone() for name, tensor in trainable.tensors().items()}
        trainable.before_update(update)
        optimizer.zero_grad(set_to_none=True)
        trainable.loss(batches.batch(update)).backward()
        trainable.after_backward()
        optimizer.step()
        still = {id(tensor) for name, tensor in trainable.tensors().items() if torch.equal(tensor, before[name])}
        assert (left_alone <= still) == (update >= 3)
        assert len(still) < len(before)


def test_kept_pairs_of_every_domain_are_replayed(base: Path, corpora: Path) -> None:
    method = make(base, corpora, sequential(base, corpora).folder, "k-fpf", {"k": 1, "share": 0.5, "pairs": 5})
    start = method.start(method.run.recipe.tasks[1], ["office"])
    kept = {
        tuple(example.target)
        for domain in ("general", "office", "games")
        for example in method.kept_examples(start, domain, 5)
    }
    batches, own = method.batches(start), {tuple(example.target) for example in start.data.train}
    assert rows(batches.batch(5)) == kept
    assert rows(batches.batch(2)) <= own


def rows(batch: object) -> set[tuple[int, ...]]:
    """The targets of a batch."""
    return {tuple(row[row != IGNORED].tolist()) for row in batch.target}  # type: ignore[attr-defined]


def test_the_most_sensitive_modules_have_the_largest_gradients(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "k-fpf")
    start = method.start(method.run.recipe.tasks[0], [])
    batch = start.data.batches(start.tokenizer, start.settings).batch(0)
    few, many = (most_sensitive(start.model, [batch], share) for share in (0.1, 0.4))
    assert few < many
    gradients: dict[str, list[float]] = {}
    trainable = method.trainable(start)
    start.model.eval()
    trainable.loss(batch).backward()
    for name, parameter in trainable.parameters.items():
        gradients.setdefault(module_of(name), []).append(float(parameter.grad.abs().mean()))
    strongest = max(gradients, key=lambda module: max(gradients[module]))
    assert strongest in many


@pytest.mark.parametrize("key", ["k", "pairs", "modules"])
def test_settings_are_checked(key: str, base: Path, corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=key):
        make(base, corpora, tmp_path, "k-fpf", {key: 0})
