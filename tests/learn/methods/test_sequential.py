"""Sequential, single and mixed fine-tuning: what is shared, what is seen, and that nothing is lost by a stop."""

import itertools
import shutil
from pathlib import Path

import pytest

from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.method import BASE
from fmalloc.methods.sequential import Sequential
from fmalloc.model.assembly import trainable_parameters
from fmalloc.model.objective import nll
from fmalloc.model.text.batches import IGNORED, TrainingBatches
from tests.support.methods import learn, make, same, sequential


def dev_nll(method: Sequential, state: str, domain: str) -> float:
    """Nats a token on a domain's dev set."""
    task = next(task for task in method.run.recipe.tasks if task.name == domain)
    model, tokenizer = method.load(state)
    examples = method.data(task, tokenizer, method.learning_of(task)).dev
    return nll(model, examples, method.run.device, batch_tokens=600, pad=tokenizer.pad_token_id)


def test_sequential_learns_and_forgets_where_single_keeps(base: Path, corpora: Path, tmp_path: Path) -> None:
    forgetful = make(base, corpora, tmp_path / "a", "sequential", updates=20, validate_every=18)
    single = make(base, corpora, tmp_path / "b", "single", updates=20, validate_every=18)
    learn(forgetful)
    learn(single)
    before, after = dev_nll(forgetful, "office", "office"), dev_nll(forgetful, "games", "office")
    assert before < dev_nll(forgetful, BASE, "office") - 0.5
    assert after > before + 0.1
    assert dev_nll(single, single.state_of("office", ["office", "games"]), "office") == pytest.approx(before)


def test_each_task_begins_where_the_last_one_ended(base: Path, corpora: Path) -> None:
    method = sequential(base, corpora)
    start = method.start(method.run.recipe.tasks[1], ["office"])
    assert same(dict(trainable_parameters(start.model)), method.parameters_of("office"))
    assert method.state_of("general", ["office", "games"]) == "games"
    assert method.state_of("general", []) == BASE


def test_single_tasks_are_independent(base: Path, corpora: Path, tmp_path: Path) -> None:
    one, other = (make(base, corpora, tmp_path / name, "single") for name in "ab")
    learn(one, "office", "games")
    learn(other, "games")
    assert same(one.parameters_of("games"), other.parameters_of("games"))
    assert one.state_of("general", ["office", "games"]) == BASE


def test_mixed_sees_all_pairs_with_the_updates_of_all_tasks(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "mixed")
    first, second = method.run.recipe.tasks
    start = method.start(first, [])
    own = [Sequential.data(method, task, start.tokenizer, start.settings).train for task in (first, second)]
    assert start.data.train == [*own[0], *own[1]]
    assert rows_of_an_epoch(method.batches(start), len(start.data.train)) == {tuple(e.target) for e in start.data.train}
    learned = learn(method, first.name)[first.name]
    assert learned.curve[-1].update == start.settings.updates == 12
    assert {method.state_of(domain, [first.name]) for domain in method.run.corpora} == {first.name}


def rows_of_an_epoch(batches: TrainingBatches, examples: int) -> set[tuple[int, ...]]:
    """Targets of the batches until as many examples were seen as there are."""
    rows: list[tuple[int, ...]] = []
    for update in itertools.count():
        rows += [tuple(row[row != IGNORED].tolist()) for row in batches.batch(update).target]
        if len(rows) >= examples:
            return set(rows)
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ewc", "dynamic-kd", "hft", "k-fpf", "lora", "adapter", "pte", "sparse-memory"])
def test_a_stopped_task_ends_with_the_same_bytes(
    name: str, base: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"recovery": 2} if name == "pte" else None
    whole, stopped = (make(base, corpora, tmp_path / folder, name, few, updates=4) for folder in "ab")
    learn(whole)
    shutil.copytree(whole.folder, stopped.folder, ignore=shutil.ignore_patterns("games"), dirs_exist_ok=True)
    before_update = FineTuning.before_update

    def stop(self: FineTuning, update: int) -> None:
        if update == 3:
            raise OSError("no more power")
        before_update(self, update)

    with monkeypatch.context() as patched:
        patched.setenv("FMALLOC_CHECKPOINT_SECONDS", "0")
        patched.setattr(FineTuning, "before_update", stop)
        with pytest.raises(OSError, match="no more power"):
            learn(stopped, "games", earlier=("office",))
    assert (tmp_path / "b" / "games" / "checkpoint.safetensors").is_file()
    learn(stopped, "games", earlier=("office",))
    assert whole.state_path("games").read_bytes() == stopped.state_path("games").read_bytes()
