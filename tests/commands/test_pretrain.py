import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fmalloc.cache.cache import FOLDER_VARIABLE, Cache
from fmalloc.commands import pretrain as main
from fmalloc.corpus import read_corpus
from fmalloc.evaluation.evaluate import evaluate
from fmalloc.model.architectures import load_base
from fmalloc.model.devices import select
from fmalloc.model.objective import contrasted_nll
from fmalloc.model.text.batches import encode
from fmalloc_shared.files import sha256_files
from tests.support.corpora import LANGUAGES
from tests.support.killing import run_and_kill, run_through

SMALL = (
    *("--vocab-size", "110", "--d-model", "16", "--heads", "2", "--ffn", "32", "--encoder-layers", "1"),
    *("--decoder-layers", "1", "--updates", "40", "--validate-every", "20", "--batch-tokens", "400"),
    *("--maximum-length", "40", "--warmup-updates", "10", "--device", "cpu"),
)


def arguments(corpora: Path, output: Path) -> list[str]:
    return ["--train", str(corpora / "general"), "--output-dir", str(output), *SMALL]


def test_texts_are_mixed_and_their_order_of_weights_matters(corpora: Path, tmp_path: Path) -> None:
    def trained(name: str, *texts: str) -> str:
        command = [part for text in texts for part in ("--train", text)]
        result = CliRunner().invoke(main, [*command, "--output-dir", str(tmp_path / name), *SMALL])
        assert result.exit_code == 0, result.output
        return sha256_files(tmp_path / name)["model.safetensors"]

    general, office = str(corpora / "general"), str(corpora / "office")
    mixed = trained("mixed", f"{general}=3", f"{office}=1")
    assert trained("again", f"{general}=3", f"{office}=1") == mixed
    assert trained("other", f"{general}=1", f"{office}=3") != mixed


def test_minutes_are_kept(corpora: Path, tmp_path: Path) -> None:
    options = [*arguments(corpora, tmp_path / "out"), "--minutes", "0.1"]
    del options[options.index("--updates") : options.index("--updates") + 2]
    begin = time.monotonic()
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    assert time.monotonic() - begin < 120
    assert (tmp_path / "out").is_dir()


def test_the_base_translates_and_uses_its_source(base: Path, corpora: Path) -> None:
    model, tokenizer = load_base(base)
    pairs = read_corpus(corpora / "general", LANGUAGES).test
    examples = encode(tokenizer, pairs, LANGUAGES, maximum_length=64).examples
    measured = contrasted_nll(model, examples, select("cpu"), batch_tokens=600, pad=tokenizer.pad_token_id)
    assert measured.shuffled > measured.true + 0.5
    assert evaluate(model, tokenizer, pairs, LANGUAGES, beam_size=2).score.bleu > 60


def test_the_padding_row_stays_zero(base: Path) -> None:
    model, _ = load_base(base)
    row = model.get_input_embeddings().weight[model.config.pad_token_id]
    assert torch.count_nonzero(row) == 0


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_with_the_same_bytes(corpora: Path, tmp_path: Path) -> None:
    def command(output: Path) -> list[str]:
        more = ["--train", str(corpora / "office"), "--average", "3", "--validation-sentences", "4"]
        return [sys.executable, "-m", "fmalloc", "pretrain", *arguments(corpora, output), *more]

    run_through(command(tmp_path / "straight"))
    killed, whole = tmp_path / "killed", sha256_files(tmp_path / "straight")

    def check() -> bool:
        assert not killed.exists() or sha256_files(killed) == whole
        return killed.exists() and not (tmp_path / ".killed.work").exists()

    checkpoint = tmp_path / ".killed.work" / "checkpoint.safetensors"
    run_and_kill(command(killed), 6, seed=2, checkpoint=checkpoint, after=check)
    assert sha256_files(killed) == whole
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_text_from_the_cache_trains_the_same_bytes(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str, *more: str) -> dict[str, str]:
        result = CliRunner().invoke(main, [*arguments(corpora, tmp_path / name), *more])
        assert result.exit_code == 0, result.output
        return sha256_files(tmp_path / name) if (tmp_path / name).exists() else {}

    folder = tmp_path / "cache"
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    expected = trained("without")
    assert not folder.exists()
    monkeypatch.setattr(Cache, "keeps", lambda self, _bytes: self.folder is not None)
    assert trained("planned", "--dry-run") == {}
    assert not folder.exists()
    for name in ("made", "read"):
        assert trained(name) == expected
        kinds = sorted(path.name.partition("-")[0] for path in folder.iterdir() if path.is_dir())
        assert kinds == ["corpus", "tokens", "tokens"]  # of train and of dev


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--d-model", "15"], "--d-model 15: not a multiple of --heads 2"),
        (["--train", "nowhere"], "nowhere: no parallel text"),
        (["--maximum-length", "2"], "no train pair of at most --maximum-length 2 tokens"),
        (["--seed", str(2**32)], "--seed"),
        (["--vocab-size", "16"], "--vocab-size 16: SentencePiece cannot make it of this text"),
        (["--from", str(Path(__file__).parent)], "config.json: no such file"),
        (["--learning-rate", "1e30"], "pretraining: the loss is nan at update"),
    ],
)
def test_what_is_wrong_is_said(corpora: Path, tmp_path: Path, changed: list[str], message: str) -> None:
    result = CliRunner().invoke(main, [*arguments(corpora, tmp_path / "out"), *changed])
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_overwritten(corpora: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    result = CliRunner().invoke(main, arguments(corpora, tmp_path / "out"))
    assert result.exit_code == 2
    assert "exists already" in result.output


def test_training_on_from_a_base_keeps_its_tokenizer(base: Path, corpora: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [*arguments(corpora, tmp_path / "out"), "--from", str(base), "--updates", "3"])
    assert result.exit_code == 0, result.output
    old, new = sha256_files(base), sha256_files(tmp_path / "out")
    assert old["source.spm"] == new["source.spm"]
    assert old["model.safetensors"] != new["model.safetensors"]
