"""fmalloc grow: free cells for the next domains, and not a byte of what was learned before changes."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file

from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.assembly import load_dense, load_grown, load_masked
from fmalloc.store.records import HeadRecord
from fmalloc.store.store import Store, writing
from fmalloc.train import learn_tasks
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files
from tests.support.corpora import small_recipe
from tests.support.lifecycle import learn, run
from tests.support.store_damage import put, record, tensor, tensors
from tests.support.stores import D_MODEL, LAYERS, WIDTH, seal, tree_bytes, write_store

MORE = 12


@pytest.mark.parametrize("kind", ["marian", "fsmt", "m2m100"])
def test_what_was_learned_keeps_files_models_and_head(kind: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", kind)
    shutil.rmtree(store.path / ".work", ignore_errors=True)
    before, head = tree_bytes(store.path), store.chain().head
    models = {name: load_masked(store, name)[0].state_dict() for name in ("general", "it", "late")}
    free = store.cells().free_count()
    code, output = run("grow", store.path, "--cells", MORE)
    assert code == 0 and f"{len(LAYERS)} layers have {MORE} more cells each" in output, output
    store = Store.open(store.path)
    store.verify()
    after = tree_bytes(store.path)
    assert {name: after[name] for name in before if name not in ("head.json", ".lock")} == {
        name: content for name, content in before.items() if name != "head.json"
    }
    assert set(after) - set(before) - {".lock"} == {"grown/1/growth.json", "grown/1/cells.safetensors"}
    assert head in store.chain().heads and store.chain().head != head
    assert store.cells().free_count() == {layer: count + MORE for layer, count in free.items()}
    assert store.widths() == dict.fromkeys(LAYERS, WIDTH + MORE)
    assert store.widths("late") == store.widths("general") == dict.fromkeys(LAYERS, WIDTH)
    for name, weights in models.items():
        again = load_masked(store, name)[0].state_dict()
        assert all(torch.equal(again[key], tensor) for key, tensor in weights.items())


def test_bundles_are_compiled_again_to_the_same_bytes(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    digests = []
    for name in ("before", "after"):
        output = tmp_path / name
        assert (
            run("export", "--store", store.path, "--task", "late", "--task", "general", "--output-dir", output)[0] == 0
        )
        digests.append(sha256_files(output))
        run("grow", store.path, "--cells", MORE)
    assert digests[0] == digests[1]


def test_fresh_cells_are_drawn_from_the_seed_and_add_nothing(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    for seed in (1, 1, 2):
        store.grow(MORE, seed)
    files = [load_file(store.path / f"grown/{number}/cells.safetensors") for number in (1, 2, 3)]
    keys = [content["decoder.1.fc1_weight"] for content in files]
    assert all(values.shape == (MORE, D_MODEL) and values.std() > 0.1 for values in keys)
    assert not any((keys[a] == keys[b]).any() for a, b in ((0, 1), (1, 2)))
    other = write_store(tmp_path / "other")
    other.grow(MORE, 1)
    assert (other.path / "grown/1/cells.safetensors").read_bytes() == (
        store.path / "grown/1/cells.safetensors"
    ).read_bytes()
    model, _ = load_grown(store)
    small, _ = load_grown(store, "general")
    for wide, narrow in zip(feed_forward_layers(model), feed_forward_layers(small), strict=True):
        assert (wide.width, narrow.width) == (WIDTH + 3 * MORE, WIDTH)
        torch.testing.assert_close(wide.module.fc1.weight[:WIDTH], narrow.module.fc1.weight, rtol=0, atol=0)
        assert not wide.module.fc2.weight[:, WIDTH:].any() and not wide.module.fc1.bias[WIDTH:].any()
    ids = torch.tensor([[5, 6, 7, 2]])
    with torch.inference_mode():
        expected = small(input_ids=ids, decoder_input_ids=ids).logits
        torch.testing.assert_close(model(input_ids=ids, decoder_input_ids=ids).logits, expected)


def test_tasks_learned_between_growths_have_the_widths_of_then(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    store.grow(MORE, 1)
    learn(store, "second", reads=["it"], first=WIDTH)
    store.grow(4, 1)
    learn(store, "third", reads=["second"], first=WIDTH)
    store = Store.open(store.path)
    store.verify()
    assert [store.widths(name)["encoder.0"] for name in ("late", "second", "third", None)] == [
        WIDTH,
        WIDTH + MORE,
        WIDTH + MORE + 4,
        WIDTH + MORE + 4,
    ]
    assert store.memory("second")["encoder.0"].cells.tolist() == [WIDTH, WIDTH + 1]
    model, _ = load_dense(store, "third")
    (layer, *_) = feed_forward_layers(model)
    assert layer.width == WIDTH + MORE + 4
    own = store.memory("second")["encoder.0"]
    assert np.array_equal(layer.module.fc1.weight[own.cells].numpy(), own.fc1_weight)
    for name in ("second", "third"):
        output = tmp_path / "bundles"
        code, text = run("export", "--store", store.path, "--task", name, "--output-dir", output)
        assert code == 0, text
    code, text = run("report", store.path, "--output", tmp_path / "report.html")
    assert code == 0, text


def test_a_full_store_learns_on_after_it_has_grown(base: Path, corpora: Path, tmp_path: Path) -> None:
    recipe = small_recipe(base, corpora, tmp_path / "store", "office", updates=40, gates="open", share=1.0)
    store = learn_tasks(recipe)
    office = sha256_files(store.path / "tasks/office")
    code, output = run("grow", store.path, "--cells", 16, "--seed", 3)
    assert code == 0, output
    more = small_recipe(base, corpora, tmp_path / "store", "office", "games", updates=40, gates="open")
    store = learn_tasks(more)
    store.verify()
    assert sha256_files(store.path / "tasks/office") == office
    claimed = store.memory("games")
    assert any((memory.cells >= 64).any() for memory in claimed.values())
    assert all(len(memory.mask) == 80 for memory in claimed.values())
    code, output = run("status", store.path, "--json")
    found = json.loads(output)
    assert found["cells"]["encoder.0"]["width"] == 80 and found["ledger"]["bytes"]["fresh cells"] > 0


DAMAGES: dict[str, tuple[Any, str, bool]] = {
    "fewer cells than the record says": (
        record("grown/1/growth.json", cells=5),
        r"fc1_weight' is .*expected float32",
        True,
    ),
    "fresh cells of no record": (lambda store: (store / "grown/1/x").write_text(""), "grown/1/x: not listed", False),
    "infinite keys": (
        tensor("grown/1/cells.safetensors", "encoder.0.fc1_weight", lambda keys: put(keys, np.inf)),
        "encoder.0.fc1_weight holds NaN or inf",
        True,
    ),
    "a layer less": (
        tensors("grown/1/cells.safetensors", lambda content: content.pop("encoder.0.fc1_weight")),
        "tensor 'encoder.0.fc1_weight' is missing",
        True,
    ),
    "changed keys": (
        tensor("grown/1/cells.safetensors", "encoder.0.fc1_weight", lambda keys: put(keys, 7)),
        "grown/1/cells.safetensors: sha256 is",
        False,
    ),
    "no growth": (lambda store: shutil.rmtree(store / "grown"), "links number the records in grown/ 1, of 0", False),
    "another number": (
        lambda store: (store / "grown/1").rename(store / "grown/2"),
        "grown: has folders 2, expected 1 to 1",
        False,
    ),
    "another growth.json": (record("grown/1/growth.json", seed=2), "growth.json: sha256 is", False),
    "a growth of version 2": (
        record("grown/1/growth.json", version=2),
        "version 2, this program reads version 1",
        False,
    ),
    "a growth of nothing": (record("grown/1/growth.json", cells=0), "growth.json: cells: .*found 0", True),
    "a growth without end": (record("grown/1/growth.json", cells=2**60), "growth.json: cells: ", True),
    "a growth that is a link": (
        lambda store: [
            (store / "grown/1").rename(store.parent / "1"),
            (store / "grown/1").symlink_to(store.parent / "1"),
        ],
        "grown/1: expected folders of grown only",
        False,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_a_growth_is_refused(damage: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    store.grow(MORE, 1)
    act, message, sealed = DAMAGES[damage]
    act(store.path)
    if sealed:
        seal(store.path)
    code, output = run("verify", store.path)
    assert code == 2 and re.search(message, output), output


def test_a_growth_that_was_stopped_before_the_head_is_completed(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    before = (store.path / "head.json").read_bytes()
    store.grow(MORE, 1)
    head = store.chain().head
    (store.path / "head.json").write_bytes(before)
    code, output = run("verify", store.path)
    assert code == 0 and "head.json lacks the last record" in output and head in output, output
    learn(Store.open(store.path), "more")
    assert head in Store.open(store.path).chain().heads


def test_programs_that_know_no_growth_refuse_it(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    store.grow(MORE, 1)
    content = (store.path / "head.json").read_text().replace('"version": 3', '"version": 2')
    with pytest.raises((FmallocError, ValidationError), match="version 2 has none"):
        HeadRecord.parse(content.encode(), "head.json")


def test_what_cannot_be_grown(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    before = sha256_files(store.path)
    for cells, message in ((0, "--cells"), (2**20, "would make more than 1048576")):
        code, output = run("grow", store.path, "--cells", cells)
        assert code == 2 and message in output, output
    code, output = run("grow", store.path, "--cells", 8, "--dry-run")
    assert code == 0 and "4 layers would get 8 free cells each" in output
    assert run("grow", tmp_path / "none", "--cells", 8)[0] == 2
    with writing(store.path):
        code, output = run("grow", store.path, "--cells", 8)
    assert code == 2 and "another process is writing" in output
    after = sha256_files(store.path)
    after.pop(".lock")
    assert after == before
