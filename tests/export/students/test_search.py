"""The search for a student's depth, on the store that was really learned, whose base has two decoder layers."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc.store.distilled import distilled_models
from fmalloc.store.store import Store
from fmalloc_export.commands.export import export as main
from fmalloc_export.students.search import timed
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from tests.support.stores import tree_bytes


def export(store: Path, output: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["--store", str(store), "--output-dir", str(output), "--task", "office", *arguments]
    )


@pytest.fixture(scope="module")
def text(corpora: Path) -> str:
    return f"--calibration={corpora / 'office' / 'train.tsv'}"


@pytest.mark.parametrize("use", ["latency", "throughput"])
def test_the_fastest_within_the_bound_is_published_as_its_depth_would_be(
    use: str, store: Store, text: str, tmp_path: Path
) -> None:
    given = (text, "-O3", "--updates", "20", "--max-quality-drop", "100", "--keep", "0.9", "--quantization", "int8")
    result = export(store.path, tmp_path / "searched", *given, "--for", use)
    assert result.exit_code == 0, result.output
    assert re.search(r"office -O3: depths", result.output)
    assert re.search(r"│ 1 +│ +\d+\.\d +│ +\d+\.\d\d +│.*kept", result.output)
    (student,) = distilled_models(store.path)
    found = Bundle.open(tmp_path / "searched" / LiveIndex.of(tmp_path / "searched").domains["office"])
    assert found.manifest.source.distilled == student.digest
    assert export(store.path, tmp_path / "named", *given, "--depth", "1").exit_code == 0
    assert tree_bytes(found.path) == tree_bytes(tmp_path / "named" / found.name)


def test_where_no_depth_keeps_the_bound_nothing_is_published(store: Store, text: str, tmp_path: Path) -> None:
    result = export(store.path, tmp_path, text, "-O3", "--updates", "2", "--for", "latency", "--max-quality-drop", "0")
    assert result.exit_code == 2
    assert "exceeded" in result.output
    assert re.search(r"the student of 1 decoder layers loses .* more than the bound of 0.0", result.output)
    assert not list(tmp_path.glob("*@*"))
    assert not list(tmp_path.glob(".building-*"))
    assert len(list(distilled_models(store.path))) == 1


def test_a_plan_names_every_depth(learned: Path, text: str, tmp_path: Path) -> None:
    result = export(learned, tmp_path / "bundles", text, "-O3", "--for", "latency", "--minutes", "2", "--explain")
    assert result.exit_code == 0, result.output
    assert "would distil a student with 1 of 2 decoder layers in 2 minutes" in result.output
    assert "ends the search for the fastest" in result.output
    assert not (learned / "distilled").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-O2",), "--for: only -O3 makes students, this is -O2"),
        (("-O3", "--depth", "1"), "--for searches for the depth, which --depth names"),
        (("-O3", "--allow-quality-drop"), "--allow-quality-drop goes with --depth"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    arguments: tuple[str, ...], message: str, learned: Path, text: str, tmp_path: Path
) -> None:
    result = export(learned, tmp_path, text, "--for", "latency", *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_models_are_timed_in_turn_after_a_warm_up() -> None:
    order: list[str] = []
    found = timed([lambda: order.append("a"), lambda: order.append("b")])
    assert order == ["a", "b"] * 4
    assert [len(seconds) for seconds in found] == [3, 3]
