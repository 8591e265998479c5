"""The experiment's product: what a small learned store is worth compiled, packed and routed, by real exports."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.experiment.compiled import REFERENCE, Build, compiled, folder_of
from benchmarks.experiment.product import main, product
from benchmarks.experiment.routed import routed
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_shared.errors import FmallocError
from tests.support.once import once

INT8 = ("ctranslate2", "int8")
DOMAINS = ("general", "office")
MADE: dict[str, Any] = {"domains": DOMAINS, "levels": ("O0",), "types": (INT8,), "misrouted": 8, "beam_size": 2}


@pytest.fixture(scope="session")
def found(learned: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `product` made of a store that learned office, at -O0 in CTranslate2; its folder of work."""

    def build(folder: Path) -> None:
        result = product(learned, corpora, folder / "work", **MADE)
        (folder / "product.json").write_text(json.dumps(result))

    return once(tmp_path_factory, "product", build)


@pytest.fixture
def work(found: Path, tmp_path: Path) -> Path:
    """A copy of that folder, which a test may change."""
    shutil.copytree(found / "work", tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def result(found: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((found / "product.json").read_text())
    return content


def test_a_reference_differs_from_itself_in_nothing(result: dict[str, Any], found: Path) -> None:
    domains = result["compiled"]["domains"]
    assert set(domains) == {*DOMAINS}
    for name, of in domains.items():
        reference, int8 = of["bundles"]
        assert reference["label"] == result["compiled"]["reference"] == REFERENCE.label
        assert reference["lines_differ"] == 0
        for metric in ("bleu", "chrf"):
            assert reference["difference"][metric] == {"value": 0.0, "interval": [0.0, 0.0], "p_value": 1.0}
            low, high = int8[f"{metric}_interval"]
            assert low <= int8[metric] <= high
            assert int8["difference"][metric]["value"] == pytest.approx(int8[metric] - reference[metric])
        assert int8["megabytes"] < reference["megabytes"] and int8["seconds"] > 0
        manifest = Bundle.open(folder_of(found / "work", Build("O0", *INT8)) / int8["bundle"]).manifest
        assert (manifest.domain, int8["cells"]) == (name, sum(manifest.widths.values()))


def test_what_is_routed_right_is_as_good_as_told(result: dict[str, Any]) -> None:
    """Domains differ in the words around their sentences: whole documents are never mistaken."""
    compiled_ = result["compiled"]["domains"].items()
    rows = {(name, row["label"]): row for name, of in compiled_ for row in of["bundles"]}
    assert len(result["routed"]) == 2
    for label, routing in result["routed"].items():
        assert set(routing["domains"]) == {*DOMAINS} and routing["overall"]["accuracy"] == 1
        for name, of in routing["domains"].items():
            assert of["chosen"] == {name: of["documents"]} and of["lines_differ"] == 0
            assert of["scores"]["routed"] == of["scores"]["told"]
            assert of["difference"]["bleu"]["value"] == 0
            # The same bundle and lines, all at once instead of in documents.
            for metric in ("bleu", "chrf"):
                assert of["scores"]["told"][metric] == pytest.approx(rows[name, label][metric])
        assert routing["overall"]["sentences"] == sum(of["sentences"] for of in routing["domains"].values())
        assert routing["overall"]["scores"]["routed"]["bleu"] > routing["overall"]["scores"]["general"]["bleu"]


def test_a_wrong_domain_costs_what_the_matrix_says(result: dict[str, Any]) -> None:
    for routing in result["routed"].values():
        matrix, expected = routing["misrouted"]["matrix"], routing["misrouted"]["expected"]
        assert [*matrix] == [*matrix["office"]] == [*matrix["general"]] == [*DOMAINS]
        assert matrix["office"]["office"]["bleu"] > matrix["office"]["general"]["bleu"]
        lost = [row[text]["bleu"] - row["general"]["bleu"] for text, row in matrix.items()]
        assert expected["always_general"] == pytest.approx(sum(lost) / len(lost), abs=1e-3)
        assert routing["misrouted"]["lines"] == dict.fromkeys(DOMAINS, 8)


def test_packed_bundles_share_what_they_have_in_common(result: dict[str, Any]) -> None:
    for label, sizes in result["packed"].items():
        rows = [row for of in result["compiled"]["domains"].values() for row in of["bundles"] if row["label"] == label]
        assert sizes["domains"] == len(DOMAINS) == len(rows)
        assert sizes["plain"] == pytest.approx(sum(row["megabytes"] for row in rows))
        assert 0 < sizes["packed"] < sizes["plain"] == pytest.approx(2 * sizes["one_bundle"])
        assert sizes["in_bundles"] == pytest.approx(sizes["packed"] / sizes["one_bundle"])


def test_what_is_finished_is_not_done_again(
    work: Path, learned: Path, corpora: Path, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is exported or translated; seconds are those of the first time."""
    monkeypatch.setattr("fmalloc_export.export.export_domain", None)
    monkeypatch.setattr("fmalloc_runtime.live.translator.Translator.translate_texts", None)
    monkeypatch.setattr("fmalloc_export.routing.costs.Measurement._measure", None)
    again = product(learned, corpora, work, **MADE)
    assert json.loads(json.dumps(again)) == result


def test_other_lines_are_scored_anew(work: Path, learned: Path, corpora: Path) -> None:
    """Bundles stay, what was measured on other lines does not count."""
    few = compiled(learned, corpora, work, domains=["office"], levels=("O0",), types=(), sentences=3, beam_size=2)
    assert few["domains"]["office"]["sentences"] == 3
    bundles = folder_of(work, REFERENCE)
    shorter = routed(bundles, corpora, work / "routed", sentences=12, misrouted=2, beam_size=2)
    assert shorter["domains"]["office"]["documents"] == 2 and shorter["overall"]["sentences"] == 24


def test_what_does_not_fit_is_said_at_once(learned: Path, corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="no task 'sea'; it holds general, office, games"):
        compiled(learned, corpora, tmp_path / "work", domains=["sea"])
    with pytest.raises(FmallocError, match="O3: its students need settings"):
        compiled(learned, corpora, tmp_path / "work", levels=("O3",))
    with pytest.raises(FmallocError, match="between general and other domains, found office"):
        product(learned, corpora, tmp_path / "work", domains=["office"])
    (tmp_path / "corpora").mkdir()
    with pytest.raises(FmallocError, match="general"):
        compiled(learned, tmp_path / "corpora", tmp_path / "work")
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_all_levels_and_engines(learned: Path, corpora: Path, tmp_path: Path) -> None:
    given = ["--store", learned, "--corpora", corpora, "--work", tmp_path / "work", "--results", tmp_path]
    few = ["--domain", "office", "--domain", "general", "--keep", 0.5, "--misrouted", 4, "--beam-size", 2]
    done = CliRunner().invoke(main, [*map(str, [*given, *few])], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "experiment.json").read_text(encoding="utf-8"))["product"]
    for of in written["compiled"]["domains"].values():
        rows = {row["label"]: row for row in of["bundles"]}
        assert len(rows) == 12
        for engine in ("ctranslate2", "onnx"):
            exact, trimmed, compact = (rows[f"{level}-{engine}-float32"] for level in ("O0", "O1", "O2"))
            assert exact["lines_differ"] == 0  # engines agree in float32
            assert trimmed["cells"] <= exact["cells"] and compact["cells"] < trimmed["cells"]
            assert trimmed["target_tokens"] <= exact["target_tokens"]
            assert compact["keep"] == 0.5 and exact["keep"] is None
        for row in rows.values():
            dropped = max(row["held_out"]["bleu_drop"], row["held_out"]["chrf_drop"])
            assert row["held_out"]["over_bound"] == (row["level"] != "O0" and dropped > 0.3)
