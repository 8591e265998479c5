"""The README's commands, run in order in a folder where the things that it names exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.files import SAMPLES
from tests.support.training import write_recipe

README = ROOT / "README.md"
# What keeps a command short here, and is no part of what the README says.
SHORTENED = {
    "fmalloc train --base": ["--dry-run"],
    "fmalloc pretrain": ["--updates", "2", "--d-model", "16", "--heads", "2", "--ffn", "16"],
    "fmalloc serve": ["--help"],
    "fmalloc compare": ["--updates", "4"],
    "fmalloc bench": ["--minutes", "0", "--threads", "1"],
    # The model learned for 20 updates: its BLEU is noise, and the bound on it would refuse the bundle.
    "fmalloc export --task it -O2": ["--allow-quality-drop"],
}


def commands() -> list[str]:
    """Every line of a shell block, then every line in backticks, that runs our program."""
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if language == "sh" for line in block.splitlines()]
    quoted = re.findall(r"`(fmalloc [^`\n]+)`", text)
    return [*(line for line in lines if line.split("|")[-1].split()[:1] == ["fmalloc"]), *quoted]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a dozen processes, most of which load torch
def test_they_all_work(base: Path, corpora: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "opus-mt-de-en")
    shutil.copy(corpora / "general" / "train.tsv", tmp_path / "news.tsv")
    for name, source in (("it", "office"), ("law", "games"), ("general", "general")):
        shutil.copytree(corpora / source, tmp_path / "corpora" / name)
    write_recipe(
        tmp_path / "recipe.yaml", tmp_path / "opus-mt-de-en", tmp_path / "corpora", tmp_path / "store", "it", updates=20
    )
    (tmp_path / "manual.xliff").write_bytes(SAMPLES["a.xliff"])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = commands()
    for verb in ("train", "pretrain", "export", "translate", "serve", "status", "report", "compare", "eval", "verify"):
        assert any(f"fmalloc {verb} " in command for command in found), verb
    for command in found:
        extra = next((words for start, words in SHORTENED.items() if start in command), [])
        line = f"{command} {shlex.join(extra)}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        if "fmalloc translate --" in command:
            assert done.stdout.strip()
    assert (tmp_path / "manual.en.xliff").is_file()
