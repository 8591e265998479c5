import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import numpy as np
import pytest
import sacrebleu
import torch
from click.testing import CliRunner, Result

from fmalloc.model.assembly import load_base
from fmalloc.store.store import Store
from fmalloc_export.commands.export import export as main
from fmalloc_export.commands.verify import verify
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.text.translation import TextOptions
from tests.support.compiled import tokens_agree
from tests.support.needs import skip_without
from tests.support.stores import LAYERS, PAIRS, WIDTH, commit, seal, subprocess_environment, tree_bytes, write_store

ONE_THREAD = EngineSettings(device="cpu", intra_threads=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test changes."""
    return write_store(tmp_path_factory.mktemp("made") / "store").path


@pytest.fixture(scope="module")
def bundles(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """general and every task of that store, exported; no test changes them."""
    output = tmp_path_factory.mktemp("made") / "bundles"
    result = export(made, output, "--all")
    assert result.exit_code == 0, result.output
    return output


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """A copy of the store that a test may change."""
    shutil.copytree(made, tmp_path / "store")
    return Store.open(tmp_path / "store")


def export(store: Path, output: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--store", str(store), "--output-dir", str(output), *arguments])


def refused(store: Path, output: Path, *arguments: str) -> str:
    """Exit code 2, a message, no traceback, no bundle; returns the message."""
    before = sorted(output.iterdir()) if output.exists() else []
    result = export(store, output, *arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    left = sorted(output.iterdir()) if output.exists() else []
    assert [path for path in left if path not in before and path.name != ".lock"] == []
    return result.output


def test_a_domain_keeps_its_own_terms(made: Path, tmp_path: Path) -> None:
    terms, output, line = tmp_path / "terms.tsv", tmp_path / "bundles", PAIRS[0].source
    word = line.split()[0]
    terms.write_text(f"{word}\tgadget\nDatei\tfile\n")
    planned = export(made, output, "--task", "it", "--glossary", str(terms), "--dry-run")
    assert planned.exit_code == 0 and "its own glossary, 2 terms" in planned.output, planned.output
    assert not output.exists()
    result = export(made, output, "--task", "it", "--glossary", str(terms))
    assert result.exit_code == 0 and "its own glossary, 2 terms" in result.output, result.output
    bundle = only_bundle(output, "it")
    assert [(term.source, term.target) for term in bundle.glossary()] == [(word, "gadget"), ("Datei", "file")]
    verified = CliRunner().invoke(verify, [str(bundle.path), "--store", str(made)])
    assert verified.exit_code == 0 and "every byte is the same" in verified.output, verified.output
    (translation,) = Translator.load(bundle, ONE_THREAD).translate_texts([line], TextOptions())
    assert translation.sentences[0].terms is not None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("Fenster\n", "terms.tsv:1: 'Fenster' has 1 columns"), ("a\tb\na\tc\n", "terms.tsv:2: 'a' is there already")],
)
def test_a_glossary_that_is_wrong_is_refused_before_anything_is_built(
    content: str, complaint: str, made: Path, tmp_path: Path
) -> None:
    (tmp_path / "terms.tsv").write_text(content)
    arguments = ("--task", "it", "--glossary", str(tmp_path / "terms.tsv"))
    assert complaint in refused(made, tmp_path / "bundles", *arguments)


def only_bundle(output: Path, domain: str) -> Bundle:
    (path,) = output.glob(f"{domain}@*")
    return Bundle.open(path)


def test_all_domains_become_verified_live_bundles(made: Path, bundles: Path) -> None:
    live = LiveIndex.of(bundles)
    assert list(live.domains) == ["general", "it", "late", "odd"]
    store = Store.open(made)
    for domain, name in live.domains.items():
        bundle = Bundle.open(bundles / name)
        Translator.load(bundle, ONE_THREAD).replay_golden()
        assert len(bundle.golden()) == 16
        manifest = bundle.manifest
        assert (manifest.source.store, manifest.source.task) == store.digest(domain)
        assert (manifest.level, manifest.keep, manifest.source.calibration) == ("O0", None, None)
        kept = {layer: max(1, int(mask.sum())) for layer, mask in store.mask(domain).items()}
        assert manifest.widths == kept
        assert tokens_agree(manifest.parity)
        assert manifest.quality is not None
        assert manifest.quality.pairs == len(PAIRS)
        assert (manifest.quality.bound, manifest.quality.allowed) == (None, False)
        assert tuple(manifest.languages) == ("de", "en")
        assert bundle.routing().to_bytes() == store.routing(domain).to_bytes()
    assert sorted(path.name for path in bundles.iterdir()) == sorted([".lock", "live.json", *live.domains.values()])


@pytest.mark.slow
def test_the_same_store_gives_the_same_bytes(made: Path, bundles: Path, tmp_path: Path) -> None:
    result = export(made, tmp_path, "--task", "late")
    assert result.exit_code == 0, result.output
    assert "written" in result.output
    first, second = only_bundle(bundles, "late"), only_bundle(tmp_path, "late")
    assert first.name == second.name
    assert tree_bytes(first.path) == tree_bytes(second.path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    result = export(made, tmp_path, "--task", "late")
    assert result.exit_code == 0, result.output
    assert f"{second.name} already there, unchanged" in result.output
    del before[tmp_path / ".lock"]
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())


def test_a_later_task_changes_no_byte_of_an_earlier_bundle(store: Store, bundles: Path, tmp_path: Path) -> None:
    masks = store.mask("it")
    taken = store.cells()
    cells = {layer: taken.free(layer)[:1] for layer in LAYERS}
    for layer, owned in cells.items():
        masks[layer] = masks[layer].copy()
        masks[layer][owned] = True
    commit(store, "newest", masks, cells, PAIRS, seed=9, reads=["it"])
    output = tmp_path / "bundles"
    result = export(store.path, output, "--task", "it")
    assert result.exit_code == 0, result.output
    assert tree_bytes(only_bundle(output, "it").path) == tree_bytes(only_bundle(bundles, "it").path)


@pytest.mark.slow
def test_int8_bundles_translate_and_float32_parity_is_reported(made: Path, tmp_path: Path) -> None:
    result = export(made, tmp_path, "--task", "odd", "--quantization", "int8")
    assert result.exit_code == 0, result.output
    bundle = only_bundle(tmp_path, "odd")
    assert bundle.manifest.engine.quantization == "int8"
    assert set(bundle.manifest.widths.values()) == {16, 32}
    assert bundle.manifest.parity.real_sentences + bundle.manifest.parity.random_sentences == 76
    assert tokens_agree(bundle.manifest.parity)
    options = TranslationOptions(max_length=12)
    (translation,) = Translator.load(bundle, ONE_THREAD).translate(["der bote"], options)
    assert translation.score is not None
    assert not list(tmp_path.rglob("float32"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["m2m100", "nllb"])
def test_many_language_bundles_translate_without_samples(tmp_path: Path, kind: str) -> None:
    store = write_store(tmp_path / "store", kind, samples=())
    result = export(store.path, tmp_path / "bundles", "--task", "it")
    assert result.exit_code == 0, result.output
    bundle = only_bundle(tmp_path / "bundles", "it")
    assert bundle.manifest.quality is None
    assert bundle.manifest.parity.real_sentences == 0
    assert len(bundle.golden()) == 16
    translator = Translator.load(bundle, ONE_THREAD)
    translator.replay_golden()
    assert translator.tokenizer.target_prefix == (("__en__",) if kind == "m2m100" else ("eng_Latn",))


def test_a_really_learned_store_keeps_its_quality(learned: Path, tmp_path: Path) -> None:
    result = export(learned, tmp_path, "--task", "office")
    assert result.exit_code == 0, result.output
    manifest = only_bundle(tmp_path, "office").manifest
    assert tokens_agree(manifest.parity)
    assert manifest.quality is not None
    assert manifest.quality.bleu_after == pytest.approx(manifest.quality.bleu_before, abs=0.5)


def test_no_live_leaves_what_is_served(made: Path, bundles: Path, tmp_path: Path) -> None:
    served = only_bundle(bundles, "odd").name
    (tmp_path / "live.json").write_bytes(LiveIndex(domains={"odd": served}).to_bytes())
    result = export(made, tmp_path, "--task", "it", "--no-live")
    assert result.exit_code == 0, result.output
    assert "written (not live)" in result.output
    assert LiveIndex.of(tmp_path).domains == {"odd": served}
    only_bundle(tmp_path, "it")


def test_dry_run_writes_nothing(made: Path, tmp_path: Path) -> None:
    result = export(made, tmp_path / "bundles", "--task", "odd", "--dry-run", "--quantization", "int8")
    assert result.exit_code == 0, result.output
    assert "odd: quality is measured on 12 held-out pairs (the store's samples), and not bound at -O0" in result.output
    assert "encoder.0 32→16" in result.output
    assert "bake-mask: kept 30 of 128 cells in 4 layers" in result.output
    assert not (tmp_path / "bundles").exists()


@pytest.mark.slow
def test_a_damaged_bundle_is_refused_and_force_mends_it(made: Path, bundles: Path, tmp_path: Path) -> None:
    name = only_bundle(bundles, "it").name
    shutil.copytree(bundles / name, tmp_path / name)
    damaged = tmp_path / name / "model" / "model.bin"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    message = refused(made, tmp_path, "--task", "it")
    assert "model.bin: sha256 is" in message
    assert "--force writes it again" in message
    result = export(made, tmp_path, "--task", "it", "--force")
    assert result.exit_code == 0, result.output
    assert tree_bytes(tmp_path / name) == tree_bytes(bundles / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", name, "live.json"]


def test_wrong_arguments_say_what_would_be_right(made: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundles"
    assert "no task 'itt'; it holds general, it, odd, late" in refused(made, output, "--task", "itt")
    assert "domain name '../it'" in refused(made, output, "--task", "../it")
    assert "give one --task or more, or --all" in refused(made, output)
    assert "give one --task or more, or --all" in refused(made, output, "--all", "--task", "it")
    assert "--quantization int4: ctranslate2 offers float32, int8" in refused(
        made, output, "--task", "it", "--quantization", "int4"
    )
    assert "no such file; is" in refused(tmp_path / "nowhere", output, "--task", "it")


def test_a_bound_at_o0_needs_held_out_text(made: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundles"
    bound = ("--quantization", "int8", "--max-quality-drop", "0.3")
    message = refused(made, output, "--task", "it", *bound)
    assert "export of 'it': no held-out text to measure quality on: the store has 12 samples of the domain" in message
    assert "--calibration" not in message
    assert not output.exists()
    assert "-O0 has no bound to exceed" in refused(made, output, "--task", "it", "--allow-quality-drop")


def test_a_store_of_another_version_or_with_a_changed_byte_is_refused(store: Store, tmp_path: Path) -> None:
    memory = store.path / "tasks" / "it" / "memory.safetensors"
    content = bytearray(memory.read_bytes())
    content[-1] ^= 1
    memory.write_bytes(content)
    assert "memory.safetensors: sha256 is" in refused(store.path, tmp_path / "bundles", "--task", "odd")
    record = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps(record | {"version": 3}))
    assert "version 3, this program reads version 1 and 2" in refused(store.path, tmp_path / "bundles", "--all")


def test_a_malformed_live_index_is_refused_before_anything_is_done(made: Path, tmp_path: Path) -> None:
    (tmp_path / "live.json").write_text('{"version": 1, "domains": {"it": "odd@0123456789ab"}}')
    assert "expected it@ and 12 hex digits" in refused(made, tmp_path, "--task", "it")


def test_two_exports_do_not_write_into_one_folder(made: Path, tmp_path: Path) -> None:
    with filelock.FileLock(tmp_path / ".lock"):
        assert "another process is writing bundles there" in refused(made, tmp_path, "--task", "it")


def test_a_drifted_base_fails_with_the_reason(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    model, _ = load_base(store.base)
    with torch.no_grad():
        model.get_input_embeddings().weight[-1] += 0.5
    model.save_pretrained(tmp_path / "drifted")
    content = (tmp_path / "drifted" / "model.safetensors").read_bytes()
    (store.base / "model.safetensors").write_bytes(content)
    seal(store.path)
    message = refused(store.path, tmp_path / "bundles", "--task", "it")
    assert "export of 'it': embedding of the pad token" in message


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Writing more fails with an OSError, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_room_nothing_half_written_is_kept(made: Path, tmp_path: Path) -> None:
    with files_no_larger_than(40_000):
        message = refused(made, tmp_path, "--task", "it")
    assert "File too large" in message
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("limits", "named", "left"),
    [("size=64k", "0.1 MB are free; make room", []), ("size=64m,nr_inodes=6", "disk full", [".lock"])],
    ids=["no room", "room for few files"],
)
def test_a_disk_that_is_too_small_or_fills_up_is_named(
    made: Path, tmp_path: Path, limits: str, named: str, left: list[str]
) -> None:
    """On a real file system, where the machine lets us mount one."""
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", limits, "tmpfs", str(small)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        skip_without("mount")
    try:
        message = refused(made, small, "--task", "general")
        assert named in message
        assert [path.name for path in small.iterdir()] == left
    finally:
        subprocess.run(["umount", str(small)], check=True)


def started(store: Path, output: Path) -> subprocess.Popen[bytes]:
    arguments = ["--store", str(store), "--output-dir", str(output), "--task", "it"]
    return subprocess.Popen(
        [sys.executable, "-m", "fmalloc", "export", *arguments],
        env=subprocess_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.parametrize("moment", [".building-*/bundle/model/model.bin", "it@*", "random"])
def test_kill_at_any_moment_leaves_valid_bundles(made: Path, bundles: Path, tmp_path: Path, moment: str) -> None:
    # Something is served already.
    served = only_bundle(bundles, "odd")
    shutil.copytree(served.path, tmp_path / served.name)
    (tmp_path / "live.json").write_bytes(LiveIndex(domains={"odd": served.name}).to_bytes())
    process = started(made, tmp_path)
    try:
        deadline = time.monotonic() + 100
        while not any(tmp_path.glob(".building-*" if moment == "random" else moment)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        if moment == "random":
            time.sleep(random.uniform(0, 2))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for name in LiveIndex.of(tmp_path).domains.values():
        Bundle.open(tmp_path / name)
    for path in tmp_path.glob("*@*"):
        Bundle.open(path)
    result = export(made, tmp_path, "--task", "it")
    assert result.exit_code == 0, result.output
    assert list(LiveIndex.of(tmp_path).domains) == ["it", "odd"]
    assert tree_bytes(only_bundle(tmp_path, "it").path) == tree_bytes(only_bundle(bundles, "it").path)
    names = {".lock", "live.json", served.name, only_bundle(bundles, "it").name}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_help_teaches_with_an_example() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "fmalloc export --task it -O2 --quantization int8" in result.output


def test_cells_of_tasks_that_are_not_read_are_in_no_bundle(made: Path, bundles: Path) -> None:
    store = Store.open(made)
    content = (only_bundle(bundles, "it").path / "model" / "model.bin").read_bytes()
    later = (only_bundle(bundles, "late").path / "model" / "model.bin").read_bytes()
    for layer in LAYERS:
        assert WIDTH > len(store.memory("late")[layer].cells) > 0
        rows = np.ascontiguousarray(store.memory("late")[layer].fc1_weight)
        for row in rows:
            assert row.tobytes() not in content
            assert row.tobytes() in later


def test_the_estimate_is_calibrated_on_the_pairs_of_quality(
    made: Path, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random models write what needs editing, so that the number is moved to the median of what they write."""
    name = LiveIndex.of(bundles).domains["it"]
    before = Bundle.open(bundles / name)
    assert before.manifest.confidence is None and before.manifest.quality
    pairs = Store.open(made).samples("it")
    model = Translator.load(before, ONE_THREAD)
    found = model.translate([pair.source for pair in pairs])
    scores = [sacrebleu.sentence_chrf(one.text, [pair.target]).score for one, pair in zip(found, pairs, strict=True)]
    monkeypatch.setattr("fmalloc_export.checks.confidence.NEEDS_EDITING", float(np.median(scores)))
    monkeypatch.setattr("fmalloc_export.checks.confidence.FEWEST", 2)
    result = export(made, tmp_path / "out", "--task", "it")
    assert result.exit_code == 0 and "told with AUROC" in result.output
    (path,) = (tmp_path / "out").glob("it@*")
    confidence = Bundle.open(path).manifest.confidence
    assert confidence and confidence.pairs == before.manifest.quality.pairs == len(pairs)
    assert confidence.share == pytest.approx(np.mean(np.array(scores) < confidence.below), abs=0.1)
    estimated = Translator.load(Bundle.open(path), ONE_THREAD)
    assert estimated.translate([pairs[0].source])[0].text == found[0].text
    assert 0 < (estimated.needs_editing(pairs[0].source, found[0].text, found[0].score or 0) or 0) < 1
    for folder, wanted in ((tmp_path / "out", path.name), (bundles, name)):
        checked = CliRunner().invoke(verify, [str(folder / wanted), "--store", str(made)])
        assert checked.exit_code == 0 and "every byte is the same" in checked.output, checked.output


def test_export_says_why_there_is_no_estimate(made: Path, tmp_path: Path) -> None:
    result = export(made, tmp_path / "out", "--task", "odd")
    assert "odd: no estimate of what needs editing: of" in " ".join(result.output.split())
