"""Domains learned at once become what they become one by one, byte for byte."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from fmalloc.lifecycle.parts.dividing import make_part, shares_of
from fmalloc.report.status import status_of
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from tests.support.corpora import small_recipe
from tests.support.killing import environment
from tests.support.lifecycle import run
from tests.support.once import once
from tests.support.stores import tree_bytes
from tests.support.training import command, learned_bytes, write_recipe

TASKS = ("office", "games", "press")
LEARNING = {"updates": 40, "gates": "open", "reads": "general", "private": ["biases"]}


@pytest.fixture(scope="module")
def texts(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpora, with a third domain."""

    def build(folder: Path) -> None:
        shutil.copytree(corpora, folder, dirs_exist_ok=True)
        shutil.copytree(corpora / "office", folder / "press")
        lines = (folder / "press/train.tsv").read_text().splitlines(keepends=True)
        (folder / "press/train.tsv").write_text("".join(lines[::2]))

    return once(tmp_path_factory, "three domains", build)


@pytest.fixture(scope="module")
def divided(base: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of no task, `empty`, and what three domains at a time made of it, `store`."""

    def build(folder: Path) -> None:
        learn_tasks(small_recipe(base, texts, folder / "empty", "office").model_copy(update={"tasks": []}))
        shutil.copytree(folder / "empty", folder / "store")
        recipe = write_recipe(folder / "recipe.yaml", base, texts, folder / "store", *TASKS, **LEARNING)
        done = subprocess.run(
            [*command(recipe), "--parallel", "3"], env=environment(), capture_output=True, text=True, check=False
        )
        (folder / "said").write_text(f"{done.returncode}\n{done.stderr}")

    return once(tmp_path_factory, "divided", build)


@pytest.mark.timeout(1200)
def test_at_once_or_one_by_one_or_by_hand_gives_the_same_store(
    divided: Path, base: Path, texts: Path, tmp_path: Path
) -> None:
    code, said = (divided / "said").read_text().split("\n", 1)
    assert code == "0", said
    assert "office, games, press: 3 at a time, each with 1/3 of the free cells" in said
    for name in TASKS:
        assert re.search(rf"^{name}: update 40: dev BLEU ", said, re.MULTILINE), said
    store = Store.open(divided / "store")
    store.verify()
    assert not (store.path / ".work/parallel@parts").exists()

    one = Path(shutil.copytree(divided / "empty", tmp_path / "one"))
    code, output = run(
        "train", write_recipe(tmp_path / "r.yaml", base, texts, one, *TASKS, **LEARNING), "--parallel", 1
    )
    assert code == 0, output
    assert learned_bytes(one) == learned_bytes(store.path)


@pytest.mark.slow
def test_parts_learned_by_their_owners_and_merged_give_the_same_tasks(
    divided: Path, base: Path, texts: Path, tmp_path: Path
) -> None:
    store, whole = Store.open(divided / "store"), Store.open(divided / "empty")
    shares = shares_of(whole, 3)
    for number, name in enumerate(TASKS, start=1):
        make_part(whole, tmp_path / name, shares, number, 3)
        learn_tasks(small_recipe(base, texts, tmp_path / name, name, **LEARNING))
    code, output = run("merge", *(tmp_path / name for name in TASKS), "--store", tmp_path / "merged")
    assert code == 0, output
    for name in TASKS:
        files = [tree_bytes(path / "tasks" / name) for path in (store.path, tmp_path / "merged")]
        # Its own party's recipe names fewer domains, so that fewer are scored.
        rows = [json.loads(found.pop("task.json")) for found in files]
        assert files[0] == files[1]
        scores = [row.pop("scores") for row in rows]
        assert rows[0] == rows[1]
        assert scores[1]["domains"][name] == scores[0]["domains"][name]


def test_the_matrix_of_a_united_store_shows_no_forgetting_that_is_not(divided: Path) -> None:
    store = Store.open(divided / "store")
    status = status_of(store)
    rows = {row["after"]: row["scores"] for row in status["rows"]}
    for place, name in enumerate(TASKS):
        for later in TASKS[place:]:
            assert rows[later]["domains"][name] == rows[name]["domains"][name]
            assert (name in rows[later]["proven"]) == (later != name)
    assert status["measures"]["bleu"]["forgetting"] == 0
    assert status["measures"]["nll"]["backward_transfer"] == 0


def test_what_was_learned_stays_as_it_is(divided: Path, base: Path, texts: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(divided / "store", tmp_path / "store"))
    recipe = write_recipe(tmp_path / "r.yaml", base, texts, store, *TASKS, **LEARNING)
    code, output = run("train", recipe, "--parallel", 2)
    assert code == 0 and output.count("learned already") == 3, output
    assert learned_bytes(store) == learned_bytes(divided / "store")


@pytest.mark.slow
def test_an_error_names_the_domain_and_ends_the_others(divided: Path, base: Path, texts: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(divided / "empty", tmp_path / "store"))
    recipe = write_recipe(tmp_path / "r.yaml", base, texts, store, *TASKS, **LEARNING | {"updates": 400})
    content = yaml.safe_load(recipe.read_text())
    content["tasks"][1]["learning"] = {"learning_rate": 1e30}
    recipe.write_text(yaml.safe_dump(content))
    began = time.monotonic()
    code, output = run("train", recipe, "--parallel", 3)
    assert code == 2 and "Error: games: task games: " in output and "the others were stopped" in output, output
    assert time.monotonic() - began < 200 and Store.open(store).tasks() == ()
    for verb in (("grow", store, "--cells", 4), ("train", recipe)):
        code, output = run(*verb)
        assert code == 2 and "parallel" in output, output
    content["tasks"][1]["name"] = "other"
    recipe.write_text(yaml.safe_dump(content))
    code, output = run("train", recipe, "--parallel", 3)
    assert code == 2 and "games: begun with --parallel, but no task of the recipe" in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_what_was_stopped_goes_on_to_the_same_bytes(
    number: signal.Signals, divided: Path, base: Path, texts: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(divided / "empty", tmp_path / "store"))
    recipe = write_recipe(tmp_path / "r.yaml", base, texts, store, *TASKS, **LEARNING)
    arguments = [*command(recipe), "--parallel", "2"]
    env = environment(FMALLOC_CHECKPOINT_SECONDS="0.1")
    process = subprocess.Popen(arguments, env=env, stderr=subprocess.PIPE, text=True)
    checkpoint = store / ".work/parallel@parts/games/.work/games/checkpoint.safetensors"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate()
    expected = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}
    assert process.returncode == expected[number], said
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(arguments, env=env, capture_output=True, text=True, check=False)
        # What a killed process started ends by itself, a moment later.
        if "another process is writing" not in done.stderr or time.monotonic() > deadline:
            break
    assert done.returncode == 0, done.stderr
    assert learned_bytes(store) == learned_bytes(divided / "store")


def test_what_cannot_be_learned_at_once(divided: Path, base: Path, texts: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(divided / "empty", tmp_path / "store"))
    recipe = write_recipe(tmp_path / "r.yaml", base, texts, store, *TASKS, updates=40)
    code, output = run("train", recipe, "--parallel", 2)
    assert code == 2 and "office, games, press: learning.reads is earlier" in output
    code, output = run("train", recipe, "--parallel", 2, "--finish")
    assert code == 2 and "not with --parallel" in output
    assert run("train", recipe, "--parallel", 0)[0] == 2
    recipe = write_recipe(tmp_path / "r.yaml", base, texts, store, *TASKS, **LEARNING)
    code, output = run("train", recipe, "--parallel", 2, "--dry-run")
    assert code == 0 and "office, games, press: 2 at a time, each with 1/3 of the free cells" in output
    assert [*store.glob(".work/*")] == []
    command = [sys.executable, "-m", "fmalloc.parallel.child", str(tmp_path / "none.json"), "x"]
    # A child ends when its input does: then whoever started it is gone.
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr
        said = child.stderr.read()
        assert child.wait() == 2 and "none.json" in said and "Traceback" not in said
