"""Recovery moves the pruned general model towards the untouched base, before the first task and never after."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fmalloc.corpus import Pair
from fmalloc.learning import recovery
from fmalloc.learning.recovery import Distillation
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.assembly import load_sliced
from fmalloc.model.devices import select
from fmalloc.model.objective import nll
from fmalloc.model.text.batches import TrainingBatches, collate, encode
from fmalloc.recipe import Recipe
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from fmalloc.training.validation import Validator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES, PAIRS
from tests.support.corpora import LANGUAGES, small_recipe


def recovering(base: Path, corpora: Path, path: Path, updates: int = 20, **learning: object) -> Recipe:
    recipe = small_recipe(base, corpora, path, "office", **{"updates": 20, **learning})
    settings = {"updates": updates, "batch_tokens": 600, "learning_rate": 2e-3}
    changes = {"recovery": settings, "sparsity": 0.6, "evaluation": {"beam_size": 1, "sentences": 4}}
    return Recipe.model_validate(recipe.model_dump(mode="json") | changes)


@pytest.fixture(scope="module")
def recovered(base: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return learn_tasks(recovering(base, corpora, tmp_path_factory.mktemp("recovered") / "store"))


def test_the_pruned_model_recovers_and_pruned_cells_stay(recovered: Store, base: Path) -> None:
    record = recovered.description.recovery
    assert record is not None
    assert record.curve[-1].nll < record.curve[0].nll
    assert record.base == sha256_files(base)
    recovered.verify()
    before, after = load_base(base)[0], load_base(recovered.base)[0]
    for old, new in zip(feed_forward_layers(before), feed_forward_layers(after), strict=True):
        kept = torch.from_numpy(recovered.mask("general")[old.name])
        assert not torch.equal(old.module.fc1.weight[kept], new.module.fc1.weight[kept])
        assert torch.equal(old.module.fc1.weight[~kept], new.module.fc1.weight[~kept])
        assert torch.equal(old.module.fc2.weight[:, ~kept], new.module.fc2.weight[:, ~kept])
    assert torch.equal(before.model.shared.weight, after.model.shared.weight)


def test_later_tasks_leave_the_recovered_base_alone(recovered: Store, base: Path, corpora: Path) -> None:
    before = sha256_files(recovered.base)
    recipe = recovering(base, corpora, recovered.path)
    assert learn_tasks(recipe).tasks() == recovered.tasks()
    assert sha256_files(recovered.base) == before
    with pytest.raises(FmallocError, match=r"recovery \{.*'updates': 20\}, not None"):
        learn_tasks(recipe.model_copy(update={"recovery": recipe.recovery.model_copy(update={"updates": 0})}))
    changed = recovered.path.parent / "changed"
    changed.mkdir()
    for file in base.iterdir():
        (changed / file.name).write_bytes(file.read_bytes() + (b" " if file.name == "config.json" else b""))
    with pytest.raises(FmallocError, match=r"another base than .* \(config.json differ\)"):
        learn_tasks(recipe.model_copy(update={"base": changed}))


@pytest.mark.slow
def test_a_recovery_that_was_stopped_ends_in_the_same_bytes(
    recovered: Store, base: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recovering(base, corpora, tmp_path / "store")
    put = recovery._put

    def stopped(*arguments: Any) -> None:
        put(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recovery, "_put", stopped)
        with pytest.raises(KeyboardInterrupt):
            learn_tasks(recipe)
    store = learn_tasks(recipe)
    assert sha256_files(store.base) == sha256_files(recovered.base)
    assert store.description.recovery == recovered.description.recovery


def test_without_recovery_the_base_is_as_it_came(learned: Path, base: Path) -> None:
    store = Store.open(learned)
    assert store.description.recovery is None
    assert sha256_files(store.base) == sha256_files(base)
    load_sliced(store, "general")


@pytest.mark.parametrize("kind", ["m2m100", "fsmt"])
def test_every_family_can_be_written_back(kind: str, tmp_path: Path) -> None:
    write, _, codes = BASES[kind]
    write(tmp_path / "base")
    languages = LanguagePair(*codes)
    student, tokenizer = load_base(tmp_path / "base", languages)
    teacher, _ = load_base(tmp_path / "base", languages)
    examples = encode(tokenizer, PAIRS, languages, maximum_length=100).examples
    masks = {layer.name: torch.arange(layer.width).numpy() % 3 > 0 for layer in feed_forward_layers(student)}
    device, pad = select("cpu"), tokenizer.pad_token_id
    validator = Validator(tokenizer, languages, examples, (), device, 400)
    trainable = Distillation(student, teacher, masks, validator, 1e-2)
    optimizer = trainable.optimizer()
    batch = collate(examples, pad)
    losses = []
    for _ in range(6):
        loss = trainable.loss(batch)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    recovery._put(tmp_path / "base", {name: tensor.detach() for name, tensor in trainable.tensors().items()})
    written, _ = load_base(tmp_path / "base", languages)
    named = dict(written.named_parameters())
    assert all(torch.equal(named[name], tensor) for name, tensor in trainable.tensors().items())
    with pytest.raises(FmallocError, match="hold no nothing"):
        recovery._put(tmp_path / "base", {"nothing": torch.zeros(1)})


def test_an_unpruned_student_has_nothing_to_learn(base: Path, corpora: Path) -> None:
    student, tokenizer = load_base(base)
    teacher, _ = load_base(base)
    pairs = [line.split("\t") for line in (corpora / "office" / "dev.tsv").read_text().splitlines()]
    examples = encode(tokenizer, [Pair(*pair) for pair in pairs], LANGUAGES, maximum_length=64).examples
    ones = {layer.name: torch.ones(layer.width).numpy() > 0 for layer in feed_forward_layers(student)}
    validator = Validator(tokenizer, LANGUAGES, examples, (), select("cpu"), 600)
    trainable = Distillation(student, teacher, ones, validator, 1e-2)
    batch = TrainingBatches(examples, 600, tokenizer.pad_token_id, 1).batch(0)
    assert abs(float(trainable.loss(batch).detach())) < 1e-6
    assert nll(teacher, examples, select("cpu"), batch_tokens=600, pad=tokenizer.pad_token_id) == pytest.approx(
        trainable.validate(0).nll
    )
