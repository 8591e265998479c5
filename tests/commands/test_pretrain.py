import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fmalloc.commands import pretrain as main
from fmalloc.corpus import read_corpus
from fmalloc.evaluation.evaluate import evaluate
from fmalloc.model.architectures import load_base
from fmalloc.model.batches import encode
from fmalloc.model.devices import select
from fmalloc.model.objective import contrasted_nll
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
        return [sys.executable, "-m", "fmalloc", "pretrain", *arguments(corpora, output)]

    run_through(command(tmp_path / "straight"))
    killed, whole = tmp_path / "killed", sha256_files(tmp_path / "straight")

    def check() -> bool:
        assert not killed.exists() or sha256_files(killed) == whole
        return killed.exists() and not (tmp_path / ".killed.work").exists()

    checkpoint = tmp_path / ".killed.work" / "checkpoint.safetensors"
    run_and_kill(command(killed), 6, seed=2, checkpoint=checkpoint, after=check)
    assert sha256_files(killed) == whole
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--d-model", "15"], "--d-model 15: not a multiple of --heads 2"),
        (["--train", "nowhere"], "nowhere: no parallel text"),
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
