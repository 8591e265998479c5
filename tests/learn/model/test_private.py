"""Private parameters fold into the weights: they change their own task alone, and every emitted model has them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from fmalloc.lifecycle.relearn import relearn
from fmalloc.methods import method_of
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.assembly import load_dense, load_masked, load_sliced
from fmalloc.model.feedforward import GatedFeedForward, block_of
from fmalloc.model.objective import logits
from fmalloc.model.private import Ranks, fold, install
from fmalloc.model.text.batches import collate, encode
from fmalloc.recipe import LearningSettings
from fmalloc.store.cells import GENERAL_OWNER, Cells
from fmalloc.store.invariants import PRIVATE_FILE
from fmalloc.store.records import PrivateKind
from fmalloc.store.store import Store, writing
from fmalloc.train import learn_tasks
from fmalloc_export.checks import parity
from fmalloc_export.checks.sentences import sentences_of
from fmalloc_export.emit import onnx
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES, LAYERS, PAIRS, WIDTH
from tests.support.compiled import compile_domain, tokens_agree
from tests.support.corpora import small_recipe
from tests.support.stores import commit, write_store

ALL = list(get_args(PrivateKind))
# A few cells of each layer are not the general model's.
GENERAL = {layer: np.arange(WIDTH - 5) for layer in LAYERS}
FAMILIES = ("marian", "m2m100", "bart", "mbart", "pegasus", "fsmt")


def changed(
    model: Any, kinds: list[str], general: Mapping[str, Cells] = GENERAL
) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Install private parameters and move each of them a little, along gradients that are drawn."""
    parameters = install(model, kinds, general, Ranks(3, 5), seed=1)
    generator = torch.Generator().manual_seed(5)
    for parameter in parameters.values():
        (0.1 * torch.randn(parameter.shape, generator=generator) * parameter).sum().backward()
    with torch.no_grad():
        for parameter in parameters.values():
            assert parameter.grad is not None
            parameter.add_(parameter.grad)
    return {name: parameter.detach().numpy() for name, parameter in parameters.items()}


@pytest.mark.parametrize("kind", FAMILIES)
def test_folded_parameters_compute_what_was_learned(kind: str, tmp_path: Path) -> None:
    write, _, codes = BASES[kind]
    write(tmp_path / "base")
    languages = LanguagePair(*codes)
    model, tokenizer = load_base(tmp_path / "base", languages)
    batch = collate(encode(tokenizer, PAIRS, languages, maximum_length=100).examples, tokenizer.pad_token_id)
    untouched = logits(model, batch)
    for private in ALL:
        learned, folded = (load_base(tmp_path / "base", languages)[0] for _ in range(2))
        install(learned, [private], GENERAL, Ranks(8, 8), seed=1)
        assert torch.equal(logits(learned, batch), untouched), f"{private} change the model before they are learned"
        learned = load_base(tmp_path / "base", languages)[0]
        fold(folded, changed(learned, [private]))
        assert not torch.allclose(logits(folded, batch), untouched, atol=1e-3)
        torch.testing.assert_close(logits(folded, batch), logits(learned, batch), atol=5e-4, rtol=1e-4)


def test_cells_are_read_with_the_private_additions_to_them(tmp_path: Path) -> None:
    """While a task learns: in any order, beside cells that it writes, and only the additions have gradients."""
    write, _, codes = BASES["marian"]
    write(tmp_path / "base")
    model, _ = load_base(tmp_path / "base", LanguagePair(*codes))
    changed(model, ["feedforward"])
    layer = feed_forward_layers(model)[0]
    hidden = torch.randn(3, 4, layer.module.fc1.weight.shape[1], generator=torch.Generator().manual_seed(2))
    expected = layer.module.fc2(layer.module.activation_fn(layer.module.fc1(hidden)))
    order = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(3))
    written = block_of(layer).select(order[20:])
    module = GatedFeedForward(layer, order[:20], written, torch.ones(WIDTH), 400.0)
    for mode in (True, False):
        torch.testing.assert_close(module.train(mode)(hidden), expected, atol=1e-5, rtol=0)
    layer.module.fc1.zero_grad()
    layer.module.fc2.zero_grad()
    module(hidden).square().sum().backward()
    learned = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    additions = {f"{fc}.parametrizations.weight.0.{side}" for fc in ("fc1", "fc2") for side in ("up", "down")}
    assert learned == {"keys", "biases", "values", *additions}, "gates are hard outside of an update"


@pytest.mark.parametrize("kind", ["marian", "m2m100"])
def test_masked_sliced_and_emitted_models_agree(kind: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", kind)
    languages = store.description.languages
    table = store.cells()
    general = {layer: table.owned(layer, GENERAL_OWNER) for layer in LAYERS}
    private = changed(load_base(store.base, languages)[0], ALL, general)
    none = {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}
    masks = {layer: np.arange(WIDTH) % 3 > 0 for layer in LAYERS}
    commit(store, "plain", masks, none, PAIRS, seed=9)
    commit(store, "own", masks, none, PAIRS, seed=9, private=private)
    compiled = compile_domain(store, "own", "float32")
    tokenizer = compiled.domain.write_tokenizer(tmp_path / "tokenizer")
    sources = [pair.source for pair in PAIRS]
    sentences = sentences_of(sources, tokenizer, compiled.domain.vocabulary, compiled.domain.maximum_length)
    masked, sliced = load_masked(store, "own")[0], load_sliced(store, "own")[0]
    for emitter in (compiled.emitter, onnx):
        directory = tmp_path / emitter.NAME
        directory.mkdir()
        emitter.emit(compiled.domain, compiled.after, directory, "float32")
        report = parity.check(
            parity.ComparedModels(masked, sliced, None, directory),
            emitter,
            compiled.domain.vocabulary,
            compiled.after.target_tokens,
            sentences,
            tokenizer.target_prefix,
            compiled.domain.maximum_length,
        )
        assert tokens_agree(report.parity)
        assert report.largest_difference <= parity.TOLERANCE
    plain = load_masked(store, "plain")[0]
    batch = collate(encode(compiled.domain.tokenizer, PAIRS, languages, maximum_length=100).examples, 0)
    assert not torch.allclose(logits(plain, batch), logits(masked, batch), atol=1e-2)


def test_the_method_to_compare_with_has_every_kind() -> None:
    assert LearningSettings.model_validate(method_of("fmalloc-private").changes).private == ALL


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="private"):
        LearningSettings.model_validate({"private": ["nothing"]})


@pytest.fixture(scope="module")
def private_store(base: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    """A store of two tasks with private parameters, and the first one's files before the second was learned."""
    path = tmp_path_factory.mktemp("private") / "store"
    options = {"private": ALL, "private_rank": 2, "updates": 20, "validation_sentences": 0, "select_by": "nll"}
    first = learn_tasks(small_recipe(base, corpora, path, "office", **options))
    files, weights = sha256_files(path / "tasks"), load_sliced(first, "office")[0].state_dict()
    store = learn_tasks(small_recipe(base, corpora, path, "office", "games", **options))
    return store, {"files": files, "weights": weights}


def test_private_parameters_are_learned_and_break_nobody(private_store: tuple[Store, dict[str, Any]]) -> None:
    store, before = private_store
    after = sha256_files(store.path / "tasks")
    assert {name: after[name] for name in before["files"]} == before["files"]
    weights = load_sliced(store, "office")[0].state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in before["weights"].items())
    store.verify()
    untouched = dict(load_base(store.base)[0].named_parameters())
    general, games = (dict(load_dense(store, name)[0].named_parameters()) for name in ("general", "games"))
    assert all(torch.equal(general[name], parameter) for name, parameter in untouched.items())
    gain, attention = "model.decoder.layers.1.final_layer_norm.weight", "model.encoder.layers.0.self_attn.q_proj.weight"
    own = store.private("games")
    assert torch.equal(games[gain], torch.from_numpy(own[gain]))
    expected = untouched[attention] + torch.from_numpy(own[f"{attention}.up"] @ own[f"{attention}.down"])
    assert torch.equal(games[attention], expected)
    keys, values = "model.encoder.layers.1.fc1.weight", "model.encoder.layers.1.fc2.weight"
    table = store.cells()
    of_general, foreign = table.owned("encoder.1", GENERAL_OWNER), np.flatnonzero(table.owners["encoder.1"] != 0)
    assert len(foreign)
    assert own[f"{keys}.up"][of_general].any() and own[f"{values}.down"][:, of_general].any()
    assert not own[f"{keys}.up"][foreign].any() and not own[f"{values}.down"][:, foreign].any()
    for name in (gain, "model.decoder.layers.1.fc2.bias", f"{attention}.up", f"{keys}.up", f"{values}.up"):
        assert not np.array_equal(own[name], store.private("office")[name]), name
    table, own_table = untouched["model.shared.weight"], games["model.shared.weight"]
    assert not torch.equal(own_table, table)
    assert not own_table[-1].any(), "the padding row starts Marian's decoder and never moves"
    bias = load_dense(store, "games")[0].final_logits_bias
    assert torch.equal(bias, torch.from_numpy(own["output_bias"]))
    assert bias.any()


def test_a_run_with_private_parameters_ends_in_the_same_bytes(
    private_store: tuple[Store, dict[str, Any]], base: Path, corpora: Path, tmp_path: Path
) -> None:
    options = {"private": ALL, "private_rank": 2, "updates": 20, "validation_sentences": 0, "select_by": "nll"}
    again = learn_tasks(small_recipe(base, corpora, tmp_path / "store", "office", **options))
    assert sha256_files(again.path / "tasks") == private_store[1]["files"]


def test_a_new_version_begins_where_private_parameters_ended(
    private_store: tuple[Store, dict[str, Any]], corpora: Path, tmp_path: Path
) -> None:
    """In layers that were widened meanwhile, and with additions of a higher rank."""
    store = Store.open(Path(shutil.copytree(private_store[0].path, tmp_path / "store")))
    with writing(store.path):
        store.grow(40, 1)
    overrides = {"device": "cpu", "learning.updates": 20, "learning.private_rank": 4}
    old, new = store.task("office"), relearn(store.path, "office", corpora / "office", overrides=overrides)
    assert old.selected and new.curve[0].nll == pytest.approx(old.selected.nll, abs=1e-4)
    keys = "model.encoder.layers.1.fc1.weight.up"
    width = store.description.layers[0].width
    assert store.private("office")[keys].shape == (width, 2)
    assert store.private("office@2")[keys].shape == (width + 40, 4)
    Store.open(store.path).verify()
    load_sliced(store, "office@2")


def test_a_task_without_private_parameters_has_no_file_of_them(learned: Path) -> None:
    store = Store.open(learned)
    assert store.task("office").private == []
    assert store.private("office") == store.private("general") == {}
    assert not (learned / "tasks" / "office" / PRIVATE_FILE).exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    none = {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}
    masks = {layer: np.ones(WIDTH, dtype=np.bool_) for layer in LAYERS}
    name = "model.decoder.layers.0.fc2.weight"
    commit(store, "own", masks, none, PAIRS, seed=9, private={f"{name}.up": np.ones((3, 2), dtype=np.float32)})
    commit(store, "odd-shape", masks, none, PAIRS, seed=9, private={name: np.ones(3, dtype=np.float32)})
    with pytest.raises(FmallocError, match=r"private parameter 'model.decoder.layers.0.fc2.weight' \[3\] does not fit"):
        load_dense(store, "odd-shape")
    with pytest.raises(FmallocError, match=r"fc2.weight.up' is there without"):
        load_dense(store, "own")
    path = store.path / "tasks" / "own"
    (path / PRIVATE_FILE).unlink()
    with pytest.raises(FmallocError, match="private.safetensors"):
        store.verify()
    description = (path / "task.json").read_text().replace('"private.safetensors"', '"other.safetensors"')
    (path / "task.json").write_text(description)
    with pytest.raises(FmallocError, match=r"own/task.json: files are .*other.*expected .*private.safetensors"):
        store.task("own")


@pytest.mark.slow
def test_a_task_can_be_learned_without_a_free_cell(store: Store, base: Path, corpora: Path) -> None:
    recipe = small_recipe(base, corpora, store.path, "office", "games")
    everything = {"gates": "open", "gate_learning_rate": 1e-9, "updates": 20}
    added = [
        {"name": "all", "data": str(corpora / "games"), "learning": everything},
        {"name": "late", "data": str(corpora / "office"), "learning": {"private": ["output"], "updates": 20}},
    ]
    content = recipe.model_dump(mode="json")
    learn_tasks(type(recipe).model_validate(content | {"tasks": content["tasks"] + added[:1]}))
    assert not any(store.cells().free_count().values())
    without = {**added[1], "learning": {"updates": 20}}
    with pytest.raises(FmallocError, match="no free cell is left for task 'late'.* learning.private takes none"):
        learn_tasks(type(recipe).model_validate(content | {"tasks": [*content["tasks"], added[0], without]}))
    learned = learn_tasks(type(recipe).model_validate(content | {"tasks": content["tasks"] + added})).task("late")
    assert learned.curve[-1].nll < learned.curve[0].nll
    assert all(len(memory.cells) == 0 for memory in store.memory("late").values())
