"""The built wheel: what it holds, and that its base installation translates without torch."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.bases import PAIRS
from tests.support.stores import subprocess_environment, write_store

pytestmark = pytest.mark.slow
PACKAGES = ("fmalloc", "fmalloc_export", "fmalloc_runtime", "fmalloc_shared")
VERBS = ("train", "pretrain", "export", "eval", "translate", "serve")


def run(*command: str | Path, text: str = "", **options: object) -> str:
    """Standard output of a command that has to succeed."""
    result = subprocess.run(
        [str(part) for part in command], input=text, capture_output=True, encoding="utf-8", timeout=240, **options
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing left over from earlier builds gets in."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    for folder in ("fmalloc", "export", "runtime"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", output, source)
    (built,) = output.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripts folder of a new virtual environment with the wheel and its base dependencies, nothing else."""
    environment = tmp_path_factory.mktemp("runtime") / "venv"
    run(sys.executable, "-m", "venv", environment)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    run(scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    return scripts


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The domain "it" of a small store, really compiled."""
    folder = tmp_path_factory.mktemp("compiled")
    write_store(folder / "store")
    export = [sys.executable, "-m", "fmalloc", "export", "--task", "it", "--store", folder / "store"]
    run(*export, "--output-dir", folder / "bundles", env=subprocess_environment())
    return folder / "bundles"


def test_wheel_holds_the_packages_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
        (scripts,) = [archive.read(name).decode() for name in names if name.endswith("/entry_points.txt")]
    folders = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert folders == set(PACKAGES)
    for package in PACKAGES:
        assert {f"{package}/__init__.py", f"{package}/py.typed"} <= set(names)
    for module in ROOT.glob("runtime/fmalloc_runtime/**/*.py"):
        assert module.relative_to(ROOT / "runtime").as_posix() in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in metadata
    assert all(f"{command} = " in scripts for command in ("fmalloc", *(f"fmalloc-{verb}" for verb in VERBS)))


def test_base_installation_has_no_torch(binaries: Path, tmp_path: Path) -> None:
    find = "import importlib.util as u; print([n for n in ('torch', 'transformers', 'sacrebleu') if u.find_spec(n)])"
    assert run(binaries / "python", "-c", find, cwd=tmp_path).strip() == "[]"


def test_a_store_is_reported_on(binaries: Path, bundles: Path, tmp_path: Path) -> None:
    run(binaries / "fmalloc", "report", bundles.parent / "store", cwd=tmp_path)
    assert "<h2>The memory</h2>" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["fmalloc-translate", "fmalloc-serve"])
def test_runtime_commands_explain_themselves(binaries: Path, command: str, tmp_path: Path) -> None:
    assert "Usage: " in run(binaries / command, "--help", cwd=tmp_path)


@pytest.mark.parametrize(
    ("command", "extra"),
    [("train recipe.yaml", "train"), ("pretrain --train x --output-dir y", "train"), ("export --all", "export")],
)
def test_the_other_commands_say_what_to_install(binaries: Path, command: str, extra: str, tmp_path: Path) -> None:
    words = f"fmalloc-{command}".split()
    done = subprocess.run([binaries / words[0], *words[1:]], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert f"is not installed: pip install 'fmalloc[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_translates_from_a_bundle(binaries: Path, bundles: Path, tmp_path: Path) -> None:
    (golden_file,) = bundles.glob("it@*/golden.jsonl")
    records = [json.loads(line) for line in golden_file.read_text(encoding="utf-8").splitlines()]
    # Golden records are single sentences, given to the model as they are. Of random ones the text pipeline keeps the
    # signs that the vocabulary lacks, and a source that translates to nothing stays.
    real = {pair.source for pair in PAIRS}
    golden = [record for record in records if record["source"] in real and record["translation"]]
    sources = "".join(f"{pair['source']}\n" for pair in golden)
    output = run(binaries / "fmalloc-translate", "--domain", "it", "--bundles", bundles, text=sources, cwd=tmp_path)
    assert output.splitlines() == [pair["translation"] for pair in golden]
    assert len(golden) > 3


def test_bundles_are_packed_verified_and_translated_from(binaries: Path, bundles: Path, tmp_path: Path) -> None:
    assert "1 bundles" in run(binaries / "fmalloc", "bundles", bundles, "--pack", cwd=tmp_path)
    assert list(bundles.glob("it@*/model/model.bin.delta"))
    assert "as they were at export" in run(binaries / "fmalloc", "verify", bundles, cwd=tmp_path)
    assert run(binaries / "fmalloc-translate", "--domain", "it", "--bundles", bundles, text="der bote\n", cwd=tmp_path)
