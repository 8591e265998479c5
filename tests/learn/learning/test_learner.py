"""What learning promises: nothing that was learned ever changes."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fmalloc.corpus import read_corpus
from fmalloc.evaluation.evaluate import evaluate_test
from fmalloc.learning import learner, scoring
from fmalloc.learning import run as run_module
from fmalloc.learning.cells.allocation import Allocation, fresh_blocks, initial_gates
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.assembly import load_masked, load_sliced
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import TrainingBatches, encode
from fmalloc.recipe import LearningSettings
from fmalloc.store.records import CurvePoint
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from fmalloc_export.commands.export import export
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files
from tests.support.corpora import LANGUAGES, small_recipe, write_domain


@pytest.mark.parametrize(
    ("seed", "weight_decay", "reads", "fresh"),
    [
        (1, 0.0, "earlier", True),
        pytest.param(2, 0.1, "earlier", False, marks=pytest.mark.slow),
        pytest.param(3, 0.1, "general", True, marks=pytest.mark.slow),
    ],
)
def test_earlier_tasks_and_their_bundles_stay_byte_identical(
    base: Path, corpora: Path, tmp_path: Path, seed: int, weight_decay: float, reads: str, fresh: bool
) -> None:
    folder = shutil.copytree(corpora, tmp_path / "corpora")
    write_domain(folder / "third", "office")
    options = {"seed": seed, "weight_decay": weight_decay, "reads": reads, "fresh_cells": fresh, "updates": 20}
    path = tmp_path / "store"
    tasks = ["office", "games", "third"]
    seen: dict[str, dict[str, str]] = {}
    weights: dict[str, dict[str, torch.Tensor]] = {}
    bundles: dict[str, dict[str, str]] = {}
    for count in range(1, len(tasks) + 1):
        store = learn_tasks(small_recipe(base, folder, path, *tasks[:count], **options))
        for task, files in seen.items():
            assert sha256_files(path / "tasks" / task) == files, f"{task} changed when {tasks[count - 1]} was learned"
            sliced = load_sliced(store, task)[0].state_dict()
            assert all(torch.equal(tensor, weights[task][name]) for name, tensor in sliced.items())
        learned = tasks[count - 1]
        seen[learned] = sha256_files(path / "tasks" / learned)
        weights[learned] = load_sliced(store, learned)[0].state_dict()
        if reads == "general":
            assert store.task(learned).reads == []
        for task in tasks[:1] if seed == 1 and count != 2 else ():  # emitting takes long
            output = tmp_path / f"{task}-after-{learned}"
            arguments = ["--store", str(path), "--task", task, "--output-dir", str(output)]
            assert CliRunner().invoke(export, arguments).exit_code == 0
            assert sha256_files(output) == bundles.setdefault(task, sha256_files(output))
    store.verify()
    assert all(len(m.cells) for m in [store.memory("office")["decoder.1"]])


def test_all_rates_are_scaled(base: Path, corpora: Path, tmp_path: Path) -> None:
    """Half of every rate, and every rate at a scale of a half, are the same learning."""
    given = {"updates": 20, "private": ["norms"]}
    rates = {"learning_rate": 4e-3, "gate_learning_rate": 0.08, "private_learning_rate": 2e-3}
    halved = {name: rate / 2 for name, rate in rates.items()}
    learned = [
        learn_tasks(small_recipe(base, corpora, tmp_path / name, "office", **given, **settings)).task("office")
        for name, settings in (("whole", rates), ("halved", halved), ("scaled", rates | {"rate_scale": 0.5}))
    ]
    whole, by_hand, scaled = ([point.nll for point in task.curve] for task in learned)
    assert by_hand == scaled != whole


def test_a_forgotten_nothing_matrix(learned: Path) -> None:
    office, games = Store.open(learned).tasks()
    assert office.scores.domains["office"] == games.scores.domains["office"]
    assert office.scores.domains["general"] == games.scores.domains["general"]


def test_learning_helps_its_domain(learned: Path) -> None:
    store = Store.open(learned)
    for task in store.tasks():
        assert task.curve[0].claimed == 0
        assert task.curve[-1].nll < task.curve[0].nll - 0.2
        assert task.scores.domains[task.name].bleu > store.description.general_scores.domains[task.name].bleu


def test_masked_and_sliced_models_of_every_domain_agree(learned: Path, corpora: Path) -> None:
    store = Store.open(learned)
    for name in ("general", "office", "games"):
        (masked, tokenizer), (sliced, _) = load_masked(store, name), load_sliced(store, name)
        pairs = read_corpus(corpora / "games", LANGUAGES).test
        batch = TrainingBatches(encode(tokenizer, pairs, LANGUAGES, maximum_length=64).examples, 800, 0, 1).batch(0)
        torch.testing.assert_close(logits(sliced, batch), logits(masked, batch), atol=2e-5, rtol=0)
        widths = {layer.name: layer.width for layer in feed_forward_layers(sliced)}
        assert widths == {layer: int(mask.sum()) for layer, mask in store.mask(name).items()}


def test_fresh_cells_fire_on_the_domain_and_change_nothing(base: Path, corpora: Path) -> None:
    model, tokenizer = load_base(base)
    pairs = read_corpus(corpora / "office", LANGUAGES).train
    examples = encode(tokenizer, pairs, LANGUAGES, maximum_length=64).examples
    batches = [TrainingBatches(examples, 600, tokenizer.pad_token_id, 1).batch(i) for i in range(2)]
    none = np.empty(0, dtype=np.int64)
    layers = feed_forward_layers(model)
    allocations = {layer.name: Allocation(layer.width, none, none, np.arange(12)) for layer in layers}
    before = logits(model, batches[0])
    blocks = fresh_blocks(model, allocations, batches, seed=1)
    assert torch.equal(logits(model, batches[0]), before)
    inputs: list[torch.Tensor] = []
    layers[0].module.fc1.register_forward_pre_hook(lambda _module, given: inputs.append(given[0].flatten(0, -2)))
    logits(model, batches[0])
    block = blocks["encoder.0"]
    active = torch.relu(inputs[0] @ block.keys.T + block.biases)
    assert (active > 0).any(0).all()
    assert not block.values.any()
    norm = layers[0].module.fc1.weight.norm(dim=1).mean()
    torch.testing.assert_close(block.keys.norm(dim=1), norm.expand(12))


def test_gates_start_open_on_general_cells_only() -> None:
    allocation = Allocation(6, np.array([0, 1]), np.array([2]), np.array([3, 4, 5]))
    gates = initial_gates(allocation, torch.Generator().manual_seed(1))
    assert gates[:2].tolist() == [10.0, 10.0]
    assert (gates[2:] < 0).all()
    started_open = initial_gates(allocation, torch.Generator().manual_seed(1), is_open=True)
    assert torch.equal(started_open[:3], gates[:3])
    assert torch.equal(started_open[3:], -gates[3:])


@pytest.mark.slow
def test_a_task_whose_gates_start_open_claims_more(base: Path, corpora: Path, tmp_path: Path) -> None:
    claimed, slow = {}, {"updates": 20, "gate_learning_rate": 1e-3, "validation_sentences": 0, "select_by": "nll"}
    for gates in ("closed", "open"):
        store = learn_tasks(small_recipe(base, corpora, tmp_path / gates, "office", gates=gates, share=0.5, **slow))
        claimed[gates] = {layer: len(memory.cells) for layer, memory in store.memory("office").items()}
        offered = {layer: round(0.5 * sum(~mask)) for layer, mask in store.mask("general").items()}
        assert all(count <= offered[layer] for layer, count in claimed[gates].items())
    assert sum(claimed["closed"].values()) < 0.2 * sum(offered.values())
    assert sum(claimed["open"].values()) > 0.8 * sum(offered.values())


def test_a_nan_loss_stops_the_task_and_damages_nothing(
    store: Store, base: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sha256_files(store.path)
    write_domain(corpora.parent / "late" / "late", "games")
    folder = corpora.parent / "late"
    for name in ("general", "office", "games"):
        (folder / name).exists() or shutil.copytree(corpora / name, folder / name)
    recipe = small_recipe(base, folder, store.path, "late", learning_rate=1e30, gate_learning_rate=1e30)
    with pytest.raises(FmallocError, match="task late: the loss is nan at update .*lower learning_rate"):
        learn_tasks(recipe)
    after = {name: digest for name, digest in sha256_files(store.path).items() if not name.startswith(".")}
    assert after == {name: digest for name, digest in before.items() if not name.startswith(".")}
    store.verify()
    mended = learn_tasks(small_recipe(base, folder, store.path, "late", updates=20))
    assert [task.name for task in mended.tasks()] == ["office", "games", "late"]


def test_a_task_that_exists_is_left_alone_or_refused(store: Store, base: Path, corpora: Path) -> None:
    before = sha256_files(store.path / "tasks")
    learn_tasks(small_recipe(base, corpora, store.path, "office", "games"))
    assert sha256_files(store.path / "tasks") == before
    with pytest.raises(FmallocError, match="task 'office' exists already, learned with seed 1, not 9"):
        learn_tasks(small_recipe(base, corpora, store.path, "office", seed=9))
    assert sha256_files(store.path / "tasks") == before


def test_another_base_or_sparsity_is_refused(store: Store, base: Path, corpora: Path, tmp_path: Path) -> None:
    recipe = small_recipe(base, corpora, store.path, "office")
    with pytest.raises(FmallocError, match=r"sparsity 0.4, not 0.2"):
        learn_tasks(recipe.model_copy(update={"sparsity": 0.2}))
    other: Any = shutil.copytree(base, tmp_path / "base")
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    with pytest.raises(FmallocError, match="another base than"):
        learn_tasks(recipe.model_copy(update={"base": other}))


@pytest.mark.slow
def test_scores_of_a_run_with_other_settings_are_not_mixed_in(
    base: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was scored before a kill is kept for the same settings only."""
    learn_tasks(small_recipe(base, corpora, tmp_path / "store", "office", updates=20))
    scored: list[int] = []

    def killed_at_the_second(*arguments: Any, **options: Any) -> Any:
        scored.append(1)
        if len(scored) > 1:
            raise KeyboardInterrupt
        return evaluate_test(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "evaluate_test", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            recipe = small_recipe(base, corpora, tmp_path / "store", "office", "games", updates=20)
            learn_tasks(recipe, measure_again=True)  # what is proven would not be measured at all
    store = learn_tasks(small_recipe(base, corpora, tmp_path / "store", "office", "games", updates=20))
    assert set(store.task("games").scores.domains) == {"general", "office", "games"}
    work = tmp_path / "work"
    run_module.claim_work(work, {"seed": 1})
    (work / "scored.json").write_text("{}")
    run_module.claim_work(work, {"seed": 1})
    assert (work / "scored.json").exists()
    run_module.claim_work(work, {"seed": 2})
    assert not (work / "scored.json").exists()


def test_a_task_that_claims_almost_nothing_is_told_so(
    base: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = {"gate_learning_rate": 1e-9, "learning_rate": 1e-9}
    store = learn_tasks(small_recipe(base, corpora, tmp_path / "store", "office", updates=20, **still))
    assert sum(len(memory.cells) for memory in store.memory("office").values()) == 0
    printed = capsys.readouterr().err
    assert "office claimed almost nothing" in printed
    assert "raise gate_learning_rate or updates" in printed


def test_the_advice_tells_a_falling_nll_from_one_that_stays() -> None:
    point = CurvePoint(update=0, bleu=6.0, chrf=20.0, nll=2.9, nll_shuffled=3.3, claimed=0)
    better = point.model_copy(update={"update": 300, "bleu": 2.0, "nll": 2.1})
    assert "fell from 2.90 to 2.10, but no state had a better dev BLEU" in learner._advice(point, better)
    assert "raise gate_learning_rate" in learner._advice(point, point)


def test_minutes_end_it(base: Path, corpora: Path, tmp_path: Path) -> None:
    """As many updates as fit, of cycles that fit them; a run that goes on keeps their number."""
    given = {"updates": 10**6, "minutes": 0.05, "validation_sentences": 0, "select_by": "nll", "validate_every": None}
    recipe = small_recipe(base, corpora, tmp_path / "store", "office", **given, anneal_updates=None)
    began = time.monotonic()
    store = learn_tasks(recipe)
    assert time.monotonic() - began < 60
    task = store.task("office")
    assert 1 <= task.curve[-1].update < 10**5  # one at least, however slow the machine
    assert task.settings["minutes"] == 0.05
    learn_tasks(recipe)  # as the recipe says
    with pytest.raises(FmallocError, match=r"learned with minutes 0\.05, not 0\.1"):
        learn_tasks(small_recipe(base, corpora, tmp_path / "store", "office", **(given | {"minutes": 0.1})))


def test_what_a_recipe_leaves_open_may_change_with_the_version(base: Path, corpora: Path, tmp_path: Path) -> None:
    recipe = small_recipe(base, corpora, tmp_path / "store", "office", updates=20)
    learned = learn_tasks(recipe).task("office")
    stated = recipe.learning.model_dump(exclude={"gates", "share", "learning_rate"})
    learning = LearningSettings.model_validate(stated)
    assert learning.gates != learned.settings["gates"]
    # Keys that are there because a model was dumped are stated; those of a file are what it says.
    opened = recipe.model_copy(update={"learning": learning})
    assert learn_tasks(opened).task("office") == learned
    closed = recipe.model_copy(update={"learning": LearningSettings.model_validate(stated | {"gates": "open"})})
    with pytest.raises(FmallocError, match="learned with gates 'closed', not 'open'"):
        learn_tasks(closed)
