"""fmalloc export at -O1 and -O2, on the store that was really learned."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc.corpus import digest, read_pairs
from fmalloc.evaluation.evaluate import score
from fmalloc.store.store import Store
from fmalloc_export.commands.export import export as main
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_shared.commands.verbs import main as verbs
from fmalloc_shared.languages import LanguagePair
from tests.support.bundles import make_live
from tests.support.compiled import tokens_agree
from tests.support.stores import PAIRS, subprocess_environment, tree_bytes, write_store

ONE_THREAD = EngineSettings(device="cpu", intra_threads=1)
HALVED = ("-O2", "--keep", "0.5", "--max-quality-drop", "0.1", "--allow-quality-drop")


def export(store: Path, output: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--store", str(store), "--output-dir", str(output), *arguments])


def exported(store: Path, output: Path, *arguments: str) -> Bundle:
    result = export(store, output, "--task", "office", *arguments)
    assert result.exit_code == 0, result.output
    return Bundle.open(output / LiveIndex.of(output).domains["office"])


def refused(store: Path, output: Path, *arguments: str) -> str:
    result = export(store, output, *arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert not list(output.glob("*@*"))
    return result.output


@pytest.fixture
def text(corpora: Path) -> Path:
    return corpora / "office" / "train.tsv"


@pytest.fixture(scope="module")
def compacted(learned: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Half of the cells, whatever that costs; read only."""
    output = tmp_path_factory.mktemp("compacted")
    return exported(learned, output, *HALVED, "--calibration", str(corpora / "office" / "train.tsv"))


def test_o1_states_what_it_did_and_loses_nothing_that_counts(learned: Path, text: Path, tmp_path: Path) -> None:
    bundle = exported(learned, tmp_path, "-O1", "--calibration", str(text))
    manifest, store = bundle.manifest, Store.open(learned)
    assert manifest.level == "O1"
    assert [step.name for step in manifest.passes] == ["bake-mask", "drop-dead-cells", "trim-vocabulary", "pad-width"]
    assert manifest.source.calibration == digest(read_pairs(text, LanguagePair("de", "en")))
    kept = {layer: max(1, int(mask.sum())) for layer, mask in store.mask("office").items()}
    assert all(width <= kept[layer] for layer, width in manifest.widths.items())
    parity = manifest.parity
    assert tokens_agree(parity)
    assert manifest.quality
    assert max(manifest.quality.bleu_drop.value, manifest.quality.chrf_drop.value) <= 0.3
    assert (manifest.quality.pairs, manifest.quality.bound, manifest.quality.allowed) == (20, 0.3, False)
    assert manifest.quality.held_out == digest(store.samples("office"))
    Translator.load(bundle, ONE_THREAD).replay_golden()


def test_o2_halves_the_cells(learned: Path, compacted: Bundle, text: Path, tmp_path: Path) -> None:
    manifest = compacted.manifest
    assert (manifest.level, manifest.keep) == ("O2", 0.5)
    assert [step.name for step in manifest.passes][-2:] == ["compact-cells", "pad-width"]
    whole = exported(learned, tmp_path, "-O1", "--calibration", str(text)).manifest.widths
    assert sum(manifest.widths.values()) == round(sum(whole.values()) / 2)
    assert all(1 <= width <= whole[layer] for layer, width in manifest.widths.items())
    quality = manifest.quality
    assert quality
    assert quality.bleu_drop.low <= quality.bleu_drop.value <= quality.bleu_drop.high
    Translator.load(compacted, ONE_THREAD).replay_golden()


@pytest.mark.slow
def test_o2_finds_the_smallest_share_that_is_good_enough(learned: Path, text: Path, tmp_path: Path) -> None:
    arguments = ("-O2", "--calibration", str(text), "--max-quality-drop")
    strict = exported(learned, tmp_path / "strict", *arguments, "0.5").manifest
    loose = exported(learned, tmp_path / "loose", *arguments, "100").manifest
    assert loose.keep is not None
    assert strict.keep is not None
    assert strict.keep > loose.keep <= 1 / 4
    assert strict.quality
    assert max(strict.quality.bleu_drop.value, strict.quality.chrf_drop.value) <= 0.5
    assert sum(loose.widths.values()) < sum(strict.widths.values())


@pytest.mark.slow
def test_a_bundle_has_a_beam_of_its_own_that_its_quality_is_measured_with(learned: Path, tmp_path: Path) -> None:
    bundle = exported(learned, tmp_path, "--beam-size", "1")
    quality, samples = bundle.manifest.quality, Store.open(learned).samples("office")
    assert bundle.manifest.beam_size == 1 and tokens_agree(bundle.manifest.parity) and quality
    model, sources = Translator.load(bundle, ONE_THREAD), [pair.source for pair in samples]
    model.replay_golden()
    greedy, wide = ([found.text for found in model.translate(sources, TranslationOptions(size))] for size in (None, 4))
    references = [pair.target for pair in samples]
    assert quality.chrf_after == round(score(greedy, references).score.chrf, 2)
    assert quality.chrf_before == round(score(wide, references).score.chrf, 2)
    again = CliRunner().invoke(verbs, ["verify", str(tmp_path), "--store", str(learned)])
    assert again.exit_code == 0, again.output
    assert "every byte is the same" in again.output


def test_the_bytes_depend_on_nothing_but_store_and_options(
    learned: Path, compacted: Bundle, text: Path, tmp_path: Path
) -> None:
    """Another process, folder and number of threads."""
    command = [sys.executable, "-m", "fmalloc", "export", "--store", str(learned), "--output-dir", str(tmp_path / "b")]
    arguments = ["--task", "office", *HALVED, "--calibration", str(text)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    environment = subprocess_environment() | threads
    subprocess.run([*command, *arguments], env=environment, check=True, capture_output=True, cwd=os.sep, timeout=120)
    assert tree_bytes(tmp_path / "b" / compacted.name) == tree_bytes(compacted.path)


@pytest.mark.slow
def test_the_table_and_the_notes_tell_the_way(learned: Path, text: Path, tmp_path: Path) -> None:
    result = export(learned, tmp_path, "--task", "office", *HALVED, "--calibration", str(text))
    assert result.exit_code == 0, result.output
    for expected in (
        "office cells  encoder.0 64→",
        "learned",
        "compact-cells: kept ",
        "BLEU lost (95 %)",
        "emitted: ctr",
        "Warning: office: published although it loses ",
    ):
        assert expected in result.output


@pytest.mark.slow
def test_onnx_bundles_are_made_as_well(learned: Path, text: Path, tmp_path: Path) -> None:
    arguments = ("--engine", "onnx", *HALVED, "--calibration", str(text))
    bundle = exported(learned, tmp_path, *arguments)
    manifest = bundle.manifest
    assert manifest.engine.name == "onnx"
    assert {"model/encoder_model.onnx", "model/decoder_with_past_model.onnx"} <= manifest.files.keys()
    assert tokens_agree(manifest.parity)
    Translator.load(bundle, ONE_THREAD).replay_golden()


def test_explain_does_nothing_and_dry_run_writes_nothing(learned: Path, text: Path, tmp_path: Path) -> None:
    arguments = ("--task", "office", "-O2", "--calibration", str(text))
    explained = export(learned, tmp_path / "b", *arguments, "--explain")
    assert explained.exit_code == 0, explained.output
    assert "bake-mask: would keep the " in explained.output
    assert "compact-cells: would keep the " in explained.output
    measured = "office: quality is measured on 20 held-out pairs (the store's samples): at most 0.3 BLEU and chrF lost"
    assert f"{measured}, what loses more is refused" in explained.output
    tried = export(learned, tmp_path / "b", *arguments, "--dry-run", "--keep", "0.5")
    assert tried.exit_code == 0, tried.output
    assert "compact-cells: kept " in tried.output
    assert measured in tried.output
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "lossy",
    [
        ("-O2", "--keep", "0.1"),
        ("-O1", "--vocabulary", "1"),
        pytest.param(("-O2", "--vocabulary", "1"), marks=pytest.mark.slow),
    ],
)
def test_a_model_that_loses_too_much_is_refused_and_what_is_live_stays(
    learned: Path, compacted: Bundle, text: Path, tmp_path: Path, lossy: tuple[str, ...]
) -> None:
    """Too few cells, too few tokens, and too few tokens at full width: no share that -O2 tries is good enough."""
    output = tmp_path / "b"
    shutil.copytree(compacted.path, output / compacted.name)
    make_live(output, output / compacted.name)
    before = tree_bytes(output)
    result = export(learned, output, "--task", "office", *lossy, "--calibration", str(text))
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert re.search(r"loses \d+\.\d+ BLEU \[.*held-out pairs\): more than the bound of 0\.3", result.output)
    assert "--allow-quality-drop publishes it all the same" in result.output
    assert {**tree_bytes(output), ".lock": b""} == {**before, ".lock": b""}


def test_what_loses_too_much_is_published_if_allowed_and_says_so(learned: Path, compacted: Bundle, text: Path) -> None:
    quality = compacted.manifest.quality
    assert quality
    assert (quality.bound, quality.allowed) == (0.1, True)
    assert max(quality.bleu_drop.value, quality.chrf_drop.value) > 0.1
    arguments = ["verify", str(compacted.path), "--store", str(learned), "--calibration", str(text)]
    verified = CliRunner().invoke(verbs, arguments)
    assert verified.exit_code == 0, verified.output
    assert "every byte is the same" in verified.output


def test_without_held_out_text_nothing_lossy_is_compiled(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", samples=()).path
    (tmp_path / "text.tsv").write_text(
        "".join(f"{pair.source} {n}\t{pair.target} {n}\n" for n in range(16) for pair in PAIRS)
    )
    arguments = ("--task", "it", "-O1", "--calibration", str(tmp_path / "text.tsv"))
    for more in ((), ("--explain",)):
        message = refused(store, tmp_path / "b", *arguments, *more)
        assert "export of 'it': no held-out text to measure quality on: the store has 0 samples" in message
        assert "Give --calibration a folder with train and dev, or at least 200 pairs" in message
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_without_samples_dev_is_measured_on_and_no_sentence_of_the_text_is_kept(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", samples=()).path
    text = tmp_path / "text"
    text.mkdir()
    for part, count in (("train", 9), ("dev", 2), ("test", 1)):
        lines = [f"{pair.source} {part}{n}\t{pair.target} {part}{n}\n" for n in range(count) for pair in PAIRS]
        (text / f"{part}.tsv").write_text("".join(lines))
    result = export(store, tmp_path / "b", "--task", "it", "-O1", "--allow-quality-drop", "--calibration", str(text))
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "b").glob("*@*")
    bundle = Bundle.open(path)
    assert bundle.manifest.quality
    assert bundle.manifest.quality.pairs == 24
    assert bundle.manifest.quality.held_out == digest(read_pairs(text / "dev.tsv", LanguagePair("de", "en")))
    assert len(bundle.golden()) == 16
    assert not [record for record in bundle.golden() if any(pair.source in record.source for pair in PAIRS)]


def test_calibration_is_asked_for_and_read_strictly(learned: Path, text: Path, tmp_path: Path) -> None:
    output = tmp_path / "b"
    office = ("--task", "office", "-O1")
    assert "-O1 needs text of each domain: --calibration office=PATH" in refused(learned, output, *office)
    assert "-O0 needs no text" in refused(learned, output, "--task", "office", "--calibration", str(text))
    assert "no parallel text" in refused(learned, output, *office, "--calibration", str(tmp_path / "nowhere"))
    both = ("--task", "office", "--task", "games", "-O1")
    assert "which task is it for? Write NAME=" in refused(learned, output, *both, "--calibration", str(text))
    assert "law is not exported" in refused(learned, output, *office, "--calibration", f"law={text}")
    for content, problem in (
        ("nur eine Seite\n", "one-sided line"),
        ("", "empty, expected one pair per line"),
        ("ein Satz\tone sentence\n", "1 pairs beside those held out"),
    ):
        (tmp_path / "bad.tsv").write_text(content)
        assert problem in refused(learned, output, *office, "--calibration", str(tmp_path / "bad.tsv"))
    (tmp_path / "bad.tsv").write_bytes("Öl\toil\n".encode("latin-1"))
    assert "bad.tsv:1: not UTF-8" in refused(learned, output, *office, "--calibration", str(tmp_path / "bad.tsv"))
    assert "keep 2.0" in refused(learned, output, "--task", "office", "-O2", "--keep", "2", "--calibration", str(text))


@pytest.mark.slow
def test_every_domain_gets_its_own_text(learned: Path, corpora: Path, tmp_path: Path) -> None:
    texts = [f"{name}={corpora / name}" for name in ("office", "games")]
    arguments = [option for text in texts for option in ("--calibration", text)]
    result = export(learned, tmp_path, "--task", "office", "--task", "games", "-O1", *arguments)
    assert result.exit_code == 0, result.output
    used = {path.name.partition("@")[0]: Bundle.open(path).manifest for path in tmp_path.glob("*@*")}
    assert sorted(used) == ["games", "office"]
    assert len({manifest.source.calibration for manifest in used.values()}) == 2


def test_samples_are_not_calibrated_on(learned: Path, tmp_path: Path) -> None:
    """Text that is nothing but the store's samples leaves no pair to calibrate on."""
    samples = Store.open(learned).samples("office")
    (tmp_path / "samples.tsv").write_text("".join(f"{pair.source}\t{pair.target}\n" for pair in samples))
    message = refused(
        learned, tmp_path / "b", "--task", "office", "-O1", "--calibration", str(tmp_path / "samples.tsv")
    )
    assert "0 pairs beside those held out" in message
