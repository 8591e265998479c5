"""What README and docs/ name is there, what is there is named, and tables made from the code are those of the code."""

import re
from pathlib import Path

import click
import pytest

from docs.reference import PAGES, command_page, with_tables
from tests.support import ROOT
from tests.support.verbs import COMMANDS

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]
PACKAGES = ("fmalloc", "export/fmalloc_export", "runtime/fmalloc_runtime")
TOP = ("fmalloc", "export", "runtime", "docs", "benchmarks", "results", "examples", "tests", "deploy")
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def quoted(document: Path) -> list[str]:
    """What stands in backticks, code blocks left out."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


@every_document
def test_paths_exist(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
    paths = [document.parent / link for link in links if "://" not in link]
    paths += [ROOT / name for name in quoted(document) if re.fullmatch(rf"({'|'.join(TOP)})/[\w./-]*", name)]
    assert [path for path in paths if not path.exists()] == []


def test_paths_are_found() -> None:
    assert "fmalloc/model/gate.py" in quoted(ROOT / "docs" / "architecture.md")


@every_document
def test_targets_and_modules_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = set(re.findall(r"`make ([a-z-]+)`", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for module in re.findall(r"python -m (benchmarks[\w.]+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- end of ") > (0 if page.name in ("serving.md", "translators.md") else 2)
    assert with_tables(text) == text, "python -m docs.reference brings it up to date"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_in_the_architecture(package: str) -> None:
    rooms = [path.parent.name for path in (ROOT / package).glob("*/__init__.py")]
    assert len(rooms) > 5
    named = quoted(ROOT / "docs" / "architecture.md")
    assert [room for room in rooms if f"{room}/" not in named] == []


def test_every_result_has_a_command() -> None:
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for result in (ROOT / "results").glob("*.json"):
        assert f"results/{result.name}" in table, result.name


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_page_of_commands_has_every_option() -> None:
    from fmalloc_shared.commands.verbs import main

    page = command_page(main, "fmalloc")
    for words, command in COMMANDS.items():
        section = page.partition(f"# {' '.join(('fmalloc', *words))}\n")[2].partition("\n## ")[0]
        assert section, words
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert [option.opts for option in options if not any(f"`{name}" in section for name in option.opts)] == []
