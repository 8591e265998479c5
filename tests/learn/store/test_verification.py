"""A store proves itself whole: verify, status, export and train refuse damage of every kind, and change nothing.

Where it helps them, those who damage it let records name the files and each other as they are now (`seal`).
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fmalloc.store.chain.links import HEAD_FILE
from fmalloc.store.store import Store
from fmalloc_shared.commands.verbs import main
from fmalloc_shared.errors import FmallocError
from tests.support.once import once
from tests.support.store_damage import DAMAGES, IT, LATE, ODD, Damage, record, text
from tests.support.stores import LAYERS, PAIRS, WIDTH, as_version, commit, seal, tree_bytes, write_store


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tasks it, odd and late, which reads it. Read only."""
    return once(tmp_path_factory, "whole", lambda folder: write_store(folder / "store")) / "store"


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store")
    return tmp_path / "store"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


@pytest.mark.parametrize("commands", [("verify", "export"), pytest.param(("status", "train"), marks=pytest.mark.slow)])
@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_passes(damage: str, commands: tuple[str, ...], copy: Path, whole: Path, corpora: Path) -> None:
    act, message, sealed = DAMAGES[damage]
    act(copy)
    if sealed:
        seal(copy)
    before = listing(copy)
    lines = {
        "verify": ["verify", copy],
        "status": ["status", copy, "--verify"],
        "export": ["export", "--task", "late", "--store", copy, "--output-dir", copy.parent / "bundles"],
        "train": ["train", "--base", whole / "base", "--general", corpora / "general", "--store", copy,
                  "--task", f"games={corpora / 'games'}"],
    }  # fmt: skip
    for name in commands:
        code, output = run(*lines[name])
        assert code == 2, (name, output)
        assert re.search(message, output), (name, output)
    assert listing(copy) == before
    assert not (copy.parent / "bundles").exists()


def listing(store: Path) -> dict[str, object]:
    """Everything but the lock, which whoever learns takes before anything is read."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes() if path.is_file() else path.lstat().st_mode
        for path in sorted(store.rglob("*"))
        if path.name != ".lock"
    }


KEYS, VALUES = "model.encoder.layers.0.fc1.weight", "model.encoder.layers.0.fc2.weight"
NORM, QUERY = "model.encoder.layers.0.final_layer_norm.weight", "model.decoder.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({NORM: (16,), f"{QUERY}.up": (16, 2), f"{QUERY}.down": (2, 16)}, None),
        ({NORM: (15,)}, rf"{NORM} makes \(15,\), but the base's {NORM} is \(16,\)"),
        ({f"{QUERY}.up": (16, 2)}, "q_proj.weight.up' is there without"),
        ({f"{QUERY}.up": (16, 2), f"{QUERY}.down": (3, 16)}, r"up is \(16, 2\) and .down \(3, 16\), expected"),
        ({f"{QUERY}.up": (2, 16), f"{QUERY}.down": (16, 2)}, r"makes \(2, 2\), but the base's .* is \(16, 16\)"),
        ({f"{QUERY}.up": (16,), f"{QUERY}.down": (16,)}, r"expected \(out, r\) and \(r, in\)"),
        (
            {f"{KEYS}.up": (WIDTH, 2), f"{KEYS}.down": (2, 16)},
            rf"{KEYS} changes cell .*, but may only what is general's",
        ),
        ({f"{VALUES}.up": (16, 2), f"{VALUES}.down": (2, WIDTH)}, rf"{VALUES} changes cell \d+ of it"),
        ({f"{KEYS}.up": (WIDTH + 8, 2), f"{KEYS}.down": (2, 16)}, rf"makes \({WIDTH + 8}, 16\), but the base's"),
    ],
)
def test_private_parameters_fit_the_base(shapes: dict[str, tuple[int, ...]], message: str | None, copy: Path) -> None:
    masks = {layer: np.zeros(WIDTH, dtype=np.bool_) for layer in LAYERS}
    none = {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}
    private = {name: np.ones(shape, dtype=np.float32) for name, shape in shapes.items()}
    commit(Store.open(copy), "own", masks, none, PAIRS, seed=4, private=private)
    code, output = run("verify", copy)
    assert code == (2 if message else 0), output
    assert re.search(message or "fit together", output), output


def test_a_whole_store_is_verified_and_its_head_is_one_digest(whole: Path) -> None:
    head = Store.open(whole).chain().head
    for command in (["verify", whole], ["status", whole, "--verify"]):
        code, output = run(*command)
        assert code == 0, output
        assert "tasks: it, odd, late" in output and f"head {head}" in output
    stated = json.loads((whole / "head.json").read_bytes())
    links = stated.pop("links")
    assert stated == {"version": 3, "tasks": 3, "head": head}
    assert [(link["kind"], link["name"]) for link in links] == [("task", "it"), ("task", "odd"), ("task", "late")]
    assert json.loads(run("status", whole, "--json")[1])["head"] == head


@pytest.mark.parametrize(
    "damage",
    [
        lambda store: shutil.rmtree(store / "tasks/late"),
        record(LATE, settings={"updates": 2}),
        record("store.json", environment={"python": "3"}),
        text("tasks/odd/samples.jsonl", "bote", "Bote"),
    ],
)
def test_what_a_patient_forger_changes_changes_the_head(damage: Damage, copy: Path) -> None:
    before = Store.open(copy).chain().head
    damage(copy)
    seal(copy)
    store = Store.open(copy)
    store.verify()
    assert store.chain().head != before


@given(data=st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_byte_can_be_changed(data: st.DataObject, whole: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(whole, store)
    name = data.draw(st.sampled_from(sorted(tree_bytes(store))))
    content = bytearray((store / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    # No digest covers head.json, which names them all: white space between its values is free.
    assume(name != HEAD_FILE or _value(bytes(content)) != _value((store / name).read_bytes()))
    (store / name).write_bytes(content)
    with pytest.raises(FmallocError, match=re.escape(str(store))):
        Store.open(store).verify()


def _value(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_a_store_of_version_1_is_read_and_said_to_have_no_chain(copy: Path) -> None:
    code, output = run("verify", as_version(copy, 1))
    assert code == 0 and "no chain: written by format 1" in output and "head " in output
    record(LATE, reads=[])(copy)
    code, output = run("verify", copy)
    assert code == 2 and "switches on cell" in output


# What is done to a store of version 2, whose tasks name their order and the record before.
OLD_DAMAGES: dict[str, tuple[Damage, str]] = {
    "other data": (text(ODD, '"sha256": "0', '"sha256": "1'), "late/task.json: previous is"),
    "another sparsity": (record("store.json", sparsity=0.31), "it/task.json: previous is"),
    "another predecessor": (record(ODD, previous="0" * 64), "odd/task.json: previous is 0000"),
    "no predecessor": (record(ODD, previous=None), "odd/task.json: .*version 2 has the SHA-256"),
    "an order twice": (record(ODD, order=1), "order is 1, expected 2"),
    "an order with a gap": (record(LATE, order=4), "late/task.json: order is 4, expected 3"),
    "a task less": (lambda store: shutil.rmtree(store / "tasks/odd"), "late/task.json: order is 3, expected 2"),
    "the last task less": (lambda store: shutil.rmtree(store / "tasks/late"), "tasks is 3, but there are 2: it, odd"),
    "version 1 behind": (record(LATE, version=1, previous=None), "version is 1 after version 2"),
    "no head": (lambda store: (store / "head.json").unlink(), "head.json: no such file"),
    "another head": (record("head.json", head="0" * 64), "head.json: head is 0000"),
    "a head of more": (record("head.json", tasks=4), "head.json: tasks is 4, but there are 3"),
    "a head of fewer": (record("head.json", tasks=1), "head.json: tasks is 1, but there are 3"),
    "links": (record("head.json", links=[]), "head.json: .*version 2 has none"),
}


@pytest.mark.parametrize("damage", OLD_DAMAGES)
def test_damage_to_a_store_of_version_2_is_refused(damage: str, copy: Path) -> None:
    as_version(copy, 2)
    assert run("verify", copy)[0] == 0
    act, message = OLD_DAMAGES[damage]
    act(copy)
    code, output = run("verify", copy)
    assert code == 2 and re.search(message, output), output


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_store_is_learned_on_with_a_chain_of_links(version: int, copy: Path) -> None:
    store = Store.open(as_version(copy, version))
    before, files = store.chain(), tree_bytes(copy)
    masks = {layer: np.zeros(WIDTH, dtype=np.bool_) for layer in LAYERS}
    commit(store, "more", masks, {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}, PAIRS, seed=4)
    after = Store.open(copy).chain()
    assert after.is_stated and after.heads[: len(before.heads)] == before.heads
    assert [task.order for task in after.tasks] == [1, 2, 3, 4]
    store.verify()
    kept = tree_bytes(copy)
    assert {name: content for name, content in kept.items() if name in files and name != "head.json"} == {
        name: content for name, content in files.items() if name != "head.json"
    }
    for file in ("store.json", IT, LATE):
        content = (copy / file).read_bytes()
        record(file, environment={"python": "3"})(copy)
        with pytest.raises(FmallocError, match=r"previous is|sha256 is|head is"):
            Store.open(copy)
        (copy / file).write_bytes(content)


@pytest.mark.parametrize("version", [2, 3])
def test_a_commit_that_was_stopped_before_the_head_is_completed(version: int, copy: Path) -> None:
    if version == 2:
        as_version(copy, 2)
    chain = Store.open(copy).chain()
    stated = json.loads((copy / "head.json").read_bytes())
    shorter = {"links": stated["links"][:-1]} if version == 3 else {}
    record("head.json", tasks=2, head=chain.heads[2], **shorter)(copy)
    code, output = run("verify", copy)
    assert code == 0 and "head.json lacks the last record" in output and f"head {chain.head}" in output
    Store.open(copy).state_head()
    assert Store.open(copy).chain().is_stated


def test_what_a_store_holds_steers_no_terminal(copy: Path) -> None:
    steering = "de\x1b]0;mine\x07\x9b2J[/b]"
    record("store.json", general_scores={"domains": {}, "signatures": {"bleu": steering}})(copy)
    seal(copy)
    for command in (
        ["status", copy],
        ["status", copy, "--json"],
        ["verify", copy],
        ["report", copy, "--output", copy.parent / "x"],
    ):
        code, output = run(*command)
        assert code == 0 and not any(character in output for character in "\x1b\x07\x9b"), output
    assert json.loads(run("status", copy, "--json")[1])["general_scores"]["signatures"]["bleu"] == steering
    record("store.json", languages={"source": steering, "target": "en"})(copy)
    code, output = run("verify", copy)
    assert code == 2 and "languages.source" in output and "\x1b" not in output
