"""The search for a student: on the store that was really learned, of two decoder layers, and on a deeper one."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

from fmalloc.corpus import Pair
from fmalloc.store.distilled import distilled_models
from fmalloc.store.store import Store
from fmalloc_export.commands.export import export as main
from fmalloc_export.students import choices
from fmalloc_export.students.points import timed
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_shared.commands.progress import console
from tests.support.corpora import sentences
from tests.support.stores import tree_bytes, write_deep_store


def export(store: Path, output: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["--store", str(store), "--output-dir", str(output), "--task", "office", *arguments]
    )


class Row(NamedTuple):
    """Of the frontier."""

    layers: str
    cells: str
    tokens: str
    beam: str
    milliseconds: str
    speed: str
    megabytes: str
    bleu: str
    chrf: str
    bound: str
    what: str


def rows(result: Result, what: str) -> list[Row]:
    """Those of the frontier that are `what` says."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines() if "│" in line]
    found = [Row(*row) for row in cells if len(row) == len(Row._fields)]
    return [row for row in found if row.what.startswith(what)]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is wide enough for the frontier."""
    monkeypatch.setattr(console, "width", 160)


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
    assert re.search(r"office -O3: ms per sentence", result.output)
    bundles, tried = rows(result, "bundle"), rows(result, "tried")
    assert [row.beam for row in tried] == ["1"], "what keeps the bound greedily needs no wider beam"
    assert all(row.bound == "kept" and row.layers == "1" for row in (*bundles, *tried))
    (student,) = distilled_models(store.path)
    found = Bundle.open(tmp_path / "searched" / LiveIndex.of(tmp_path / "searched").domains["office"])
    manifest = found.manifest
    assert manifest.source.distilled == student.digest
    fastest = min(bundles, key=lambda row: float(row.milliseconds))
    assert (fastest.beam, fastest.cells) == (str(manifest.beam_size or 4), str(sum(manifest.widths.values())))
    beam = ("--beam-size", str(manifest.beam_size)) if manifest.beam_size else ()
    assert export(store.path, tmp_path / "named", *given, "--depth", "1", *beam).exit_code == 0
    assert tree_bytes(found.path) == tree_bytes(tmp_path / "named" / found.name)


def test_where_no_depth_keeps_the_bound_nothing_is_published(store: Store, text: str, tmp_path: Path) -> None:
    result = export(store.path, tmp_path, text, "-O3", "--updates", "2", "--for", "latency", "--max-quality-drop", "0")
    assert result.exit_code == 2
    assert [row.bound for row in rows(result, "bundle")] == ["exceeded"]
    assert not rows(result, "tried"), "what does not keep the bound as it is does so with less still less"
    assert re.search(r"the student of 1 decoder layers loses .* more than the bound of 0.0", result.output)
    assert not list(tmp_path.glob("*@*"))
    assert not list(tmp_path.glob(".building-*"))
    assert len(list(distilled_models(store.path))) == 1


def test_a_smaller_vocabulary_is_tried_and_compiled(
    store: Store, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "VOCABULARIES", (65, 50, 40))
    given = (text, "-O3", "--updates", "20", "--max-quality-drop", "100", "--keep", "0.9", "--beam-size", "2")
    result = export(store.path, tmp_path, *given, "--for", "throughput")
    assert result.exit_code == 0, result.output
    tried = rows(result, "tried")
    assert [(row.tokens, row.beam) for row in tried[1:]] == [("50", "2"), ("45", "2")], "65 of 70 save nothing"
    assert int(tried[0].tokens) == 70
    found = Bundle.open(tmp_path / LiveIndex.of(tmp_path).domains["office"]).manifest
    assert found.beam_size == 2
    assert str(found.target_tokens) in {row.tokens for row in rows(result, "bundle")}


def test_a_budget_is_spent_on_the_depth_that_trials_speak_for(tmp_path: Path, text: str) -> None:
    samples = tuple(Pair(*pair) for pair in sentences("office")[:24])
    store = write_deep_store(tmp_path / "store", 3, samples)
    given = ("-O3", "--keep", "0.9", "--max-quality-drop", "100", "--for", "latency", "--budget", "0.05", text)
    arguments = ["--store", str(store.path), "--output-dir", str(tmp_path / "bundles"), "--task", "general", *given]
    explained = CliRunner().invoke(main, [*arguments, "--explain"])
    assert explained.exit_code == 0, explained.output
    assert "would look among students of 2, 1 decoder layers, within 0.05 minutes" in explained.output
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    trials, bundles = rows(result, "trial"), rows(result, "bundle")
    assert [row.layers for row in trials] == ["2", "1"]
    fastest = min(trials, key=lambda row: float(row.milliseconds))
    assert {row.layers for row in bundles} == {fastest.layers}
    (student,) = distilled_models(store.path)
    assert student.record.claim.settings["depth"] == int(fastest.layers)
    assert not list((store.path / ".work").glob("*@*")), "what is given up leaves nothing"
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 0, again.output
    assert not rows(again, "trial"), "the student is found again"
    assert [found.digest for found in distilled_models(store.path)] == [student.digest]


def test_where_there_is_one_depth_the_whole_budget_is_its(store: Store, text: str, tmp_path: Path) -> None:
    given = (text, "-O3", "--for", "latency", "--budget", "0.05", "--max-quality-drop", "100", "--keep", "0.9")
    result = export(store.path, tmp_path, *given)
    assert result.exit_code == 0, result.output
    assert not rows(result, "trial") and {row.layers for row in rows(result, "bundle")} == {"1"}


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
        (("-O3", "--budget", "5", "--updates", "9"), "--updates: of each student; --budget is of all of them"),
        (("-O3", "--budget", "0"), "0.0 is not in the range x>0"),
        (("-O2", "--budget", "5"), "only -O3 makes students, this is -O2"),
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


def test_a_budget_is_of_a_search(learned: Path, text: str, tmp_path: Path) -> None:
    result = export(learned, tmp_path, text, "-O3", "--depth", "1", "--budget", "5")
    assert result.exit_code == 2
    assert "--budget: the time of a search, which --for asks for" in result.output
