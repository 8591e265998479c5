"""fmalloc correct: better versions become current, worse ones are deleted, and nothing else changes."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from fmalloc.corpus.report import Tally
from fmalloc.evaluation.evaluate import translate
from fmalloc.lifecycle.corrections import gate
from fmalloc.lifecycle.corrections.correct import Request, correct, gathered, is_held_out
from fmalloc.lifecycle.corrections.gate import Verdict
from fmalloc.model.assembly import load_sliced
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from fmalloc_shared.files import sha256_files
from fmalloc_shared.languages import LanguagePair
from tests.support.corpora import sentences, small_recipe
from tests.support.lifecycle import run
from tests.support.once import once

Rows = list[tuple[str, str]]
# None of them is in the dev or test text of `write_domain`.
GOOD: Rows = [pair for at, pair in enumerate(sentences("office")) if at % 13 and at % 17][::2]
FAST = ("--updates", "20", "--beam-size", "1", "--device", "cpu")


@pytest.fixture(scope="session")
def half_learned(base: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose domains have much to learn, with room for more versions. Read only."""

    def build(folder: Path) -> None:
        learn_tasks(small_recipe(base, corpora, folder / "store", "office", "games", share=0.2, updates=40))

    return once(tmp_path_factory, "half_learned", build) / "store"


@pytest.fixture
def own(half_learned: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(half_learned, tmp_path / "store")


def table(path: Path, rows: Rows) -> Path:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows), encoding="utf-8")
    return path


def files(store: Path) -> dict[str, str]:
    return {name: digest for name, digest in sha256_files(store).items() if not name.startswith((".lock", ".work"))}


def mixed(rows: Rows) -> Rows:
    """A tenth of the rows has the target of another one."""
    return [
        (source, rows[(at + 7) % len(rows)][1] if at % 10 == 3 else target) for at, (source, target) in enumerate(rows)
    ]


def test_corrections_become_the_current_version_and_touch_nothing_else(
    own: Path, corpora: Path, tmp_path: Path
) -> None:
    day, report, before = table(tmp_path / "day.tsv", mixed(GOOD)), tmp_path / "report.json", files(own)
    arguments = (own, "office", "--from", day, "--data", corpora / "office", *FAST)
    code, text = run("correct", *arguments, "--output", report)
    assert code == 0, text
    verdict = Verdict.read(report)
    assert verdict.passed and (verdict.current, verdict.candidate) == ("office", "office@2")
    assert "office@2 is current, before it was office" in text
    assert sum(verdict.refused.values()) >= 5 and verdict.learned + verdict.held_out < len(GOOD)
    assert Store.open(own).resolve("office") == "office@2"
    after = files(own)
    changed = {name for name, digest in before.items() if after[name] != digest}
    assert changed == {"head.json"}
    assert run("verify", own)[0] == 0
    code, text = run("correct", *arguments, "--dry-run")
    assert code == 0 and "office@3: to be learned in 20 updates" in text and files(own) == after
    # Gentler rates are of that version alone.
    assert Store.open(own).task("office@2").settings["rate_scale"] == 0.1
    assert run("relearn", own, "office", "--data", corpora / "office", "--updates", "20")[0] == 0
    assert Store.open(own).task("office@3").settings["rate_scale"] == 1


def test_what_the_gate_refuses_is_deleted_and_the_exit_code_is_1(own: Path, corpora: Path, tmp_path: Path) -> None:
    """What the version says already cannot be learned."""
    model, tokenizer = load_sliced(Store.open(own), "office")
    sources = [source for source, _ in GOOD]
    said = translate(model, tokenizer, sources, LanguagePair("de", "en"), beam_size=1).texts
    day = table(tmp_path / "day.tsv", [*zip(sources, said, strict=True)])
    report, before = tmp_path / "report.json", files(own)
    code, text = run("correct", own, "office", "--from", day, *FAST, "--updates", "1", "--output", report)
    assert code == 1, text
    verdict = Verdict.read(report)
    refused = [criterion.name for criterion in verdict.criteria if not criterion.met]
    assert "learned corrections" in refused and "other domains" not in refused
    assert "NOT MET" in text and "office@2 is refused and deleted, office stays current" in text
    store = Store.open(own)
    assert store.resolve("office") == "office" and [task.name for task in store.tasks()] == ["office", "games"]
    after = files(own)
    assert {name for name, digest in before.items() if after[name] != digest} == {"head.json"}
    assert not [name for name in after if name.startswith("tasks/office@2")]
    assert run("verify", own)[0] == 0


@pytest.mark.slow
def test_after_a_kill_what_was_learned_is_judged(own: Path, corpora: Path, tmp_path: Path) -> None:
    day = table(tmp_path / "day.tsv", GOOD)
    request = Request(own, "office", day, corpora / "office", updates=20, beam_size=1, device="cpu")
    assert killed_at_gate(request)
    assert [task.name for task in Store.open(own).tasks()] == ["office", "games", "office@2"]
    code, text = run("correct", own, "office", "--from", day, "--data", corpora / "office", *FAST)
    assert code == 0 and "office@2: learned already from this text" in text
    assert Store.open(own).resolve("office") == "office@2"


def killed_at_gate(request: Request) -> bool:
    """Correct in a process of its own, killed once the version is learned and held back."""
    child = os.fork()
    if child == 0:
        gate.Compared.__init__ = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,method-assign]
        correct(request)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_held_out_tenth_and_no_old_translation_of_what_was_corrected(
    own: Path, corpora: Path, tmp_path: Path
) -> None:
    request = Request(own, "office", table(tmp_path / "day.tsv", GOOD), corpora / "office", replay=2, device="cpu")
    material = gathered(request, Store.open(own), "office", Tally())
    assert 0 < len(material.held_out) < len(material.learned) / 4
    assert all(map(is_held_out, material.held_out)) and not any(map(is_held_out, material.learned))
    corrected = {pair.source for pair in (*material.learned, *material.held_out)}
    assert material.replayed and not corrected & {pair.source for pair in material.replayed}
    assert not corrected & {pair.source for pair in (*material.dev, *material.test)}


def test_without_the_domains_text_the_stores_samples_are_the_dev_text(own: Path, tmp_path: Path) -> None:
    request = Request(own, "office", table(tmp_path / "day.tsv", GOOD), device="cpu")
    store = Store.open(own)
    material = gathered(request, store, "office", Tally())
    assert material.dev == store.samples("office") and material.replayed == ()


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        (GOOD[:19], (), r"day.tsv: \d+ of 19 corrections are left, at least 20 are needed"),
        ([(source, source) for source, _ in GOOD], (), "day.tsv: 0 of 139 corrections are left"),
        (GOOD, ("--data", "absent"), "absent: no parallel text"),
        (GOOD, ("--output", "absent/report.json"), "no folder absent"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_learned(
    own: Path, tmp_path: Path, rows: Rows, arguments: tuple[str, ...], message: str
) -> None:
    before = files(own)
    day = table(tmp_path / "day.tsv", rows)
    code, text = run("correct", own, "office", "--from", day, *FAST, *arguments)
    assert code == 2 and re.search(message, text), text
    assert files(own) == before


def test_domains_that_are_not_there(own: Path, tmp_path: Path) -> None:
    day = table(tmp_path / "day.tsv", GOOD)
    for name, message in (("law", "no task 'law'"), ("general", "general")):
        code, text = run("correct", own, name, "--from", day, *FAST)
        assert code == 2 and message in text
