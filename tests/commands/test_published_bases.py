"""Bases as they are published, from learning over both engines to the runtime's translation."""

import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from fmalloc.commands import train
from fmalloc.evaluation.evaluate import translate
from fmalloc.model.assembly import load_sliced
from fmalloc.recipe.recipe import EvaluationSettings, ImportanceSettings, LanguageSettings
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from fmalloc_export.commands.eval import evaluate
from fmalloc_export.commands.export import export
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES, VARIANTS
from tests.support.corpora import sentences, small_recipe
from tests.support.stores import PAIRS

# The kind of base, what is asked for, what the base calls it, and what stands around a source and before a target.
PUBLISHED = {
    "several targets": ("marian-targets", ("de", "fr"), ("de", "fra"), ((">>fra<<",), ("</s>",), ())),
    "larger target": ("marian-larger", ("de", "en"), ("de", "en"), ((), ("</s>",), ())),
    "padding inside": ("marian-inside", ("de", "en"), ("de", "en"), ((), ("</s>",), ())),
    "smaller target": ("marian-smaller", ("de", "en"), ("de", "en"), ((), ("</s>",), ())),
    "nllb": ("nllb", ("de", "eng"), ("deu_Latn", "eng_Latn"), (("deu_Latn",), ("</s>",), ("eng_Latn",))),
    "legacy nllb": (
        "nllb-legacy",
        ("ger", "en-GB"),
        ("deu_Latn", "eng_Latn"),
        ((), ("</s>", "deu_Latn"), ("eng_Latn",)),
    ),
    "bfloat16": ("marian", ("de", "en"), ("de", "en"), ((), ("</s>",), ())),
}
ONE_THREAD = EngineSettings(device="cpu", intra_threads=1)


def write_base(kind: str, path: Path, precision: str) -> Path:
    (BASES | VARIANTS)[kind][0](path)
    if precision == "bfloat16":
        tensors = load_file(path / "model.safetensors")
        halved = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
        save_file(halved, path / "model.safetensors", metadata={"format": "pt"})
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_base_is_learned_exported_and_served(
    name: str, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, (source, target), codes, around = PUBLISHED[name]
    base = write_base(kind, tmp_path / "base", name)
    short = {"updates": 12, "anneal_updates": 12, "validate_every": 12, "batch_tokens": 300, "validation_sentences": 1}
    private = {"private": ["norms", "embeddings", "output"], "private_rank": 2}
    recipe = small_recipe(base, corpora, tmp_path / "store", "office", **short, **private)
    changes = {
        "languages": LanguageSettings(source=source, target=target),
        "importance": ImportanceSettings(batches=2, batch_tokens=300),
        "evaluation": EvaluationSettings(sentences=1, beam_size=1),
    }
    store = learn_tasks(recipe.model_copy(update=changes))
    assert ("weights are bfloat16, read as float32" in capsys.readouterr().err) == (name == "bfloat16")
    assert store.description.languages == LanguagePair(*codes)
    model, tokenizer = load_sliced(store, "office")
    lines = [pair.source for pair in PAIRS]
    expected = translate(model, tokenizer, lines, store.description.languages, beam_size=4)
    for engine in ("ctranslate2", "onnx"):
        translator = exported(store, tmp_path / engine, "--engine", engine, "-O0")
        assert translator.bundle.manifest.languages == LanguagePair(*codes)
        config = translator.tokenizer.config
        assert (config.source_prefix, config.source_suffix, config.target_prefix) == around
        search = TranslationOptions(beam_size=4, max_length=len(max(expected.tokens, key=len)))
        found = translator.translate_texts(lines, TextOptions(splitting="lines", protect=False, search=search))
        # Where nothing was written the pipeline gives the source back, and the longest were cut. The export itself has
        # compared both engines with PyTorch token by token.
        end = model.config.eos_token_id
        whole = [index for index, ids in enumerate(expected.tokens) if ids[-1] == end and expected.texts[index]]
        assert [found[index].text.strip() for index in whole] == [expected.texts[index] for index in whole]
    if kind.startswith("marian-"):
        calibrated = ("--calibration", str(corpora / "office"), "--allow-quality-drop")
        trimmed = exported(store, tmp_path / "O1", "-O1", *calibrated)
        assert any(item.name == "trim-vocabulary" for item in trimmed.bundle.manifest.passes)


def exported(store: Store, output: Path, *arguments: str) -> Translator:
    given = ["--store", str(store.path), "--task", "office", "--output-dir", str(output)]
    result = CliRunner().invoke(export, [*given, *arguments])
    assert result.exit_code == 0, result.output
    translator = Translator.load(Bundle.open(next(output.glob("office@*"))), ONE_THREAD)
    translator.replay_golden()
    return translator


def dry_run(base: Path, corpora: Path, *arguments: str) -> Result:
    given = ["--base", str(base), "--general", str(corpora / "general"), "--task", f"office={corpora / 'office'}"]
    return CliRunner().invoke(train, [*given, "--store", str(base.parent / "store"), "--dry-run", *arguments])


def test_a_base_of_several_targets_is_told_one(corpora: Path, tmp_path: Path) -> None:
    base = write_base("marian-targets", tmp_path / "base", "float32")
    unknown = "does not know the target language 'pl'"
    for given, problem in (((), "names no target language"), (("--target", "pl"), unknown)):
        result = dry_run(base, corpora, *given)
        assert result.exit_code == 2
        assert problem in result.output and "one of cmn_Hans, cmn_Hant, eng, fra" in result.output
    for asked, code in (("fr", "fra"), ("zh", "cmn_Hans"), ("zh_TW", "cmn_Hant"), ("eng_Latn", "eng")):
        result = dry_run(base, corpora, "--target", asked)
        assert result.exit_code == 0, result.output
        assert f"languages de-{code}; before every source stands >>{code}<<" in result.stderr.replace("\n", " ")
    assert not (tmp_path / "store").exists()


def test_a_base_of_several_targets_that_names_one_writes_that(corpora: Path, tmp_path: Path) -> None:
    base = write_base("marian-targets", tmp_path / "base", "float32")
    config = base / "tokenizer_config.json"
    config.write_text(config.read_text().replace("en+fr+zh", "en"))
    result = dry_run(base, corpora)
    assert result.exit_code == 0, result.output
    assert "languages de-eng; before every source stands >>eng<<" in result.stderr.replace("\n", " ")


def test_a_published_model_is_scored_in_the_language_that_is_asked_for(tmp_path: Path) -> None:
    base = write_base("marian-targets", tmp_path / "base", "float32")
    (tmp_path / "test.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in sentences("office")[:4]), encoding="utf-8")
    written = {}
    for target in ("fr", "zh"):
        folder = tmp_path / target
        arguments = [str(base), "--test", str(tmp_path / "test.tsv"), "--device", "cpu", "--translations", str(folder)]
        result = CliRunner().invoke(evaluate, [*arguments, "--source", "de", "--target", target])
        assert result.exit_code == 0, result.output
        written[target] = next(folder.rglob("*.txt")).read_text()
    assert written["fr"] != written["zh"]
    result = CliRunner().invoke(evaluate, [*arguments, "--source", "de", "--target", "it"])
    assert result.exit_code == 2 and "one of cmn_Hans, cmn_Hant, eng, fra" in result.output


def test_a_learned_language_is_not_another_one(corpora: Path, tmp_path: Path, learned: Path, base: Path) -> None:
    """A store remembers its languages; another one asked for is another store."""
    store = Store.open(shutil.copytree(learned, tmp_path / "store"))
    result = dry_run(base, corpora, "--store", str(store.path), "--target", "fr")
    assert result.exit_code == 2 and "languages ('de', 'en'), not ('de', 'fr')" in result.output
