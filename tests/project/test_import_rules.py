"""Who may import whom: the contracts of pyproject.toml, and imports where torch cannot be imported."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

SOURCES = ("fmalloc", "export", "runtime")


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return run(["-c", code, "--config", str(directory / "pyproject.toml"), "--no-cache"], directory)


def run(arguments: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(directory), str(directory / "export"), str(directory / "runtime")]
    code = f"import sys; sys.path[:0] = {paths}\n"
    if arguments[0] == "-c":
        arguments = ["-c", code + arguments[1], *arguments[2:]]
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def copy_sources(directory: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", directory)
    for source in SOURCES:
        shutil.copytree(ROOT / source, directory / source, ignore=shutil.ignore_patterns("__pycache__"))


def test_contracts_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("fmalloc/store/cells_too.py", "ctranslate2"),
        ("fmalloc/store/cells_too.py", "fmalloc_runtime"),
        ("fmalloc/store/cells_too.py", "fmalloc_export"),
        ("fmalloc/store/cells_too.py", "torch"),
        ("fmalloc/corpus/cells_too.py", "fmalloc.store.cells"),
        ("fmalloc/model/cells_too.py", "fmalloc.recipe"),
        ("fmalloc/training/cells_too.py", "fmalloc.learning.run"),
        ("fmalloc/learning/cells_too.py", "fmalloc.methods.method"),
        ("fmalloc/methods/cells_too.py", "fmalloc.report.page"),
        ("runtime/fmalloc_runtime/engines/engine_too.py", "torch"),
        ("runtime/fmalloc_runtime/engines/engine_too.py", "transformers"),
        ("runtime/fmalloc_runtime/engines/engine_too.py", "fmalloc.store.store"),
        ("runtime/fmalloc_runtime/bundle/engine_too.py", "fmalloc_runtime.engines.base"),
        ("runtime/fmalloc_runtime/text/service_too.py", "fmalloc_runtime.batching.service"),
        ("runtime/fmalloc_shared/names_too.py", "ctranslate2"),
        ("runtime/fmalloc_shared/names_too.py", "fmalloc_runtime"),
        ("export/fmalloc_export/domain/vocabulary_too.py", "fmalloc_export.passes.pipeline"),
        ("export/fmalloc_export/passes/base_too.py", "fmalloc_export.emit.emitter"),
    ],
)
def test_contracts_catch(module: str, forbidden: str, tmp_path: Path) -> None:
    copy_sources(tmp_path)
    (tmp_path / module).write_text(f"import {forbidden}\n", encoding="utf-8")
    result = lint(tmp_path)
    assert result.returncode == 1, result.stdout
    assert "1 broken" in result.stdout


def test_a_new_room_needs_a_floor(tmp_path: Path) -> None:
    copy_sources(tmp_path)
    (tmp_path / "fmalloc" / "attic.py").write_text("", encoding="utf-8")
    result = lint(tmp_path)
    assert result.returncode == 1, result.stdout
    assert "attic" in result.stdout


def import_without(modules: str, blocked: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run `modules`, Python code, where the `blocked` packages cannot be imported."""
    code = f"sys.modules.update(dict.fromkeys({blocked}))\n{modules}"
    return run(["-c", code], ROOT)


ALL_MODULES = """
import importlib, pkgutil, {package}
names = [module.name for module in pkgutil.walk_packages({package}.__path__, "{package}.")]
assert names
for name in names:
    importlib.import_module(name)
"""


@pytest.mark.parametrize("package", ["fmalloc_runtime", "fmalloc_shared"])
def test_serving_needs_no_learning(package: str) -> None:
    blocked = ("torch", "transformers", "sacrebleu", "fmalloc", "fmalloc_export")
    result = import_without(ALL_MODULES.format(package=package), blocked)
    assert result.returncode == 0, result.stderr


def test_the_store_needs_no_torch() -> None:
    blocked = ("torch", "transformers", "sacrebleu", "sentencepiece", "ctranslate2", "fmalloc_runtime")
    result = import_without("import fmalloc.corpus, fmalloc.recipe, fmalloc.store.store, fmalloc.store.cells", blocked)
    assert result.returncode == 0, result.stderr


def test_learning_needs_no_serving() -> None:
    blocked = ("ctranslate2", "fmalloc_runtime", "fmalloc_export")
    result = import_without(ALL_MODULES.format(package="fmalloc"), blocked)
    assert result.returncode == 0, result.stderr


def test_blocked_means_blocked() -> None:
    result = import_without("import torch", ("torch",))
    assert result.returncode == 1
    assert "ModuleNotFoundError" in result.stderr
