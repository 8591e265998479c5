"""fmalloc train as its users run it: resumed after kill -9, stopped by bad input, stopped by a full disk."""

import json
import resource
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc.commands import train as main
from fmalloc.corpus import read_corpus
from fmalloc.model.devices import environment_of, select
from fmalloc.store.store import Store
from fmalloc_shared.commands.verbs import main as fmalloc
from fmalloc_shared.languages import LanguagePair
from tests.support.killing import environment, run_and_kill, run_through
from tests.support.training import command, learned_bytes, write_recipe


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bytes(base: Path, corpora: Path, tmp_path: Path) -> None:
    def learning(folder: Path) -> list[str]:
        folder.mkdir()
        recipe = folder / "recipe.yaml"
        return command(write_recipe(recipe, base, corpora, folder / "store", "office", "games", updates=60))

    run_through(learning(tmp_path / "straight"))
    store = tmp_path / "killed" / "store"

    def verify() -> bool:
        if Store.exists(store):
            Store.open(store).verify()
        return False

    checkpoint = store / ".work" / "office" / "checkpoint.safetensors"
    run_and_kill(learning(store.parent), 8, seed=4, checkpoint=checkpoint, after=verify)
    assert learned_bytes(store) == learned_bytes(tmp_path / "straight" / "store")


def test_running_again_redoes_nothing(base: Path, corpora: Path, store: Store) -> None:
    recipe = write_recipe(store.path.parent / "r.yaml", base, corpora, store.path, "office", "games")
    before, started = learned_bytes(store.path), time.monotonic()
    result = CliRunner().invoke(main, [str(recipe)])
    assert result.exit_code == 0, result.output
    assert "office: learned already" in result.stderr
    assert time.monotonic() - started < 5
    assert learned_bytes(store.path) == before


def test_a_task_says_what_it_was_made_of(corpora: Path, store: Store) -> None:
    office, _ = store.tasks()
    corpus = read_corpus(corpora / "office", LanguagePair("de", "en"))
    assert office.dropped == {reason: found.pairs for reason, found in corpus.report.dropped.items()} != {}
    assert office.data["train"].pairs == len(corpus.train)
    assert office.environment == store.description.environment == environment_of(select("cpu"))


def failing(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result


def test_flags_instead_of_a_recipe(base: Path, corpora: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main,
        [
            *("--base", str(base), "--general", str(corpora / "general" / "train.tsv")),
            *("--task", f"office={corpora / 'office'}", "--store", str(tmp_path / "store"), "--dry-run"),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "task office: to be learned" in result.stderr
    assert not (tmp_path / "store").exists()


def test_what_would_be_cleaned_is_told_before(base: Path, corpora: Path, tmp_path: Path) -> None:
    text = (corpora / "office" / "train.tsv").read_text()
    task = tmp_path / "office.tsv"
    task.write_text(f"German\tEnglish\n{text}<b>M&amp;S</b>\tM&amp;S\n")
    arguments = ["--base", str(base), "--general", str(corpora / "general"), "--task", f"office={task}", "--dry-run"]
    result = CliRunner().invoke(main, [*arguments, "--store", str(tmp_path / "store")])
    assert result.exit_code == 0, result.output
    lines = len(text.splitlines()) + 2
    told = result.stderr.replace("\n", "")
    for done, line in (("header row left out", 1), ("entities decoded", lines), ("tags taken out", lines)):
        assert f"1 {done} (first: {task}:{line})" in told
    assert not (tmp_path / "store").exists()


def test_bad_input_is_named_and_leaves_no_store(base: Path, corpora: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    good = ["--base", str(base), "--general", str(corpora / "general"), "--store", str(store)]
    office = f"office={corpora / 'office'}"
    assert "give a RECIPE" in failing().output
    assert "expected NAME=PATH" in failing(*good, "--task", "office").output
    assert "domain name '../x'" in failing(*good, "--task", "../x=y").output
    assert "no parallel text" in failing(*good, "--task", f"it={tmp_path / 'none'}").output
    assert "general: missing" in failing("--base", str(base), "--task", office).output
    assert "config.json: no such file" in failing(*good, "--base", str(tmp_path), "--task", office).output
    bad = tmp_path / "bad.tsv"
    bad.write_bytes(b"ja\tyes\nnein\n")
    assert "bad.tsv:2: one-sided line" in failing(*good, "--task", f"it={bad}").output
    assert not store.exists()


def test_an_unsupported_family_lists_the_supported_ones(base: Path, corpora: Path, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "t5")
    (other / "config.json").write_text(json.dumps({"model_type": "t5"}))
    arguments = ["--base", str(other), "--general", str(corpora / "general"), "--task", f"office={corpora / 'office'}"]
    output = failing(*arguments, "--store", str(tmp_path / "store")).output
    assert "model family 't5' is not supported" in output
    assert "marian (MarianMT, OPUS-MT)" in output


def test_a_damaged_store_is_refused(base: Path, corpora: Path, store: Store) -> None:
    recipe = write_recipe(store.path.parent / "r.yaml", base, corpora, store.path, "office", "games")
    weights = store.path / "tasks/games/memory.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "memory.safetensors: sha256 is" in failing(str(recipe)).output


@pytest.mark.slow
def test_a_write_that_fails_midway_leaves_the_store_valid(base: Path, corpora: Path, store: Store) -> None:
    """The limit on the size of a file stands in for a full disk: a write fails after its first bytes."""
    late = shutil.copytree(corpora / "games", store.path.parent / "late")
    corpora_too = shutil.copytree(corpora, store.path.parent / "corpora")
    late.rename(corpora_too / "late")
    recipe = write_recipe(store.path.parent / "r.yaml", base, corpora_too, store.path, "late", updates=20)
    before = learned_bytes(store.path)
    done = subprocess.run(
        command(recipe),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert learned_bytes(store.path) == before
    Store.open(store.path).verify()
    again = CliRunner().invoke(main, [str(recipe)])
    assert again.exit_code == 0, again.output
    assert [task.name for task in Store.open(store.path).tasks()] == ["office", "games", "late"]


def test_status_shows_tasks_cells_and_matrix(store: Store) -> None:
    result = CliRunner().invoke(fmalloc, ["status", str(store.path), "--verify"])
    assert result.exit_code == 0, result.output
    for expected in ("files are as they were written", "head ", "office", "games", "encoder.0", "free", "after games"):
        assert expected in result.output
    (store.path / "store.json").unlink()
    result = CliRunner().invoke(fmalloc, ["status", str(store.path)])
    assert result.exit_code == 2
    assert "no such file; is" in result.output
