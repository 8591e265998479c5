"""`make gpu`, rehearsed on the CPU in tiny shapes; what it adds up, and what it does where something is missing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.speed import covered, goals_of
from fmalloc_shared.errors import FmallocError


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_it_is_rehearsed_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "tests", lambda _device: {"summary": "are run by the suite"})
    options = ["--device", "cpu", "--work-dir", str(tmp_path), "--minutes", "20"]
    done = CliRunner().invoke(gpu.main, options)
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "gpu.json").read_bytes())
    results = document["results"]
    assert document["device"] == "cpu" and document["precision"] == "float32"
    assert results["pretraining"]["updates_per_second"] > 0
    assert 0.1 < results["pretraining"]["busy"] <= 1.2
    assert any(name.startswith("aten::") for name in results["pretraining"]["top_operators"])
    assert results["learning"]["blocks"]["optimizer_bytes"] < results["learning"]["masking"]["optimizer_bytes"]
    assert results["search"]["beam 4"] > 0
    for engine in ("ctranslate2", "onnx"):
        for found in results["engines"][engine].values():
            assert found["same_lines"] <= results["engines"]["lines"] and found["lines_per_second"] > 0
    assert results["engines"]["ctranslate2"]["float32"]["same_lines"] == results["engines"]["lines"]
    assert results["engines"]["onnx"]["default"]["same_lines"] == results["engines"]["lines"]
    assert {goal["name"] for goal in document["goals"]} == {
        "updates per second of pretraining",
        "share of the time that the device works",
        "updates/s over gradient masking",
        "optimizer memory of masking's",
    }


def lacking() -> dict[str, Any]:
    raise FmallocError("libcublas.so.12 is not there")


def failing() -> dict[str, Any]:
    raise RuntimeError("out of memory")


def test_what_is_missing_or_fails_is_written_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {"pretraining": failing, "search": lambda: {"beam 1": 9.0}, "engines": lacking}
    monkeypatch.setattr(gpu, "steps_of", lambda *_: steps)
    options = ["--device", "cpu", "--work-dir", str(tmp_path)]
    done = CliRunner().invoke(gpu.main, options)
    assert done.exit_code == 2 and "not measured: pretraining, engines" in done.output
    results = json.loads((tmp_path / "gpu.json").read_bytes())["results"]
    assert results["pretraining"] == {"failed": "RuntimeError: out of memory"}
    assert results["engines"] == {"lacks": "libcublas.so.12 is not there"}
    assert results["search"]["beam 1"] == 9.0
    steps["engines"] = lambda: {"lines": 3}
    done = CliRunner().invoke(gpu.main, [*options, "--step", "engines"])
    results = json.loads((tmp_path / "gpu.json").read_bytes())["results"]
    assert results["engines"]["lines"] == 3 and results["search"]["beam 1"] == 9.0


def test_a_step_for_which_no_time_is_left_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "steps_of", lambda *_: {"search": failing})
    done = CliRunner().invoke(gpu.main, ["--device", "cpu", "--work-dir", str(tmp_path), "--minutes", "0.1"])
    assert done.exit_code == 2
    found = json.loads((tmp_path / "gpu.json").read_bytes())["results"]["search"]
    assert "it needs 20" in found["not_run"]


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(gpu.main, [])
    assert done.exit_code == 2 and "no CUDA device is available" in done.output


def test_time_that_is_covered_twice_counts_once() -> None:
    assert covered([]) == 0
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.0, 1.5)]) == 4.0


def test_goals_are_of_what_was_measured() -> None:
    assert goals_of({"pretraining": {"failed": "…"}, "learning": {"lacks": "…"}}) == []
    blocks, masking = {"optimizer_bytes": 2}, {"optimizer_bytes": 10, "speed_of_blocks": 1.2}
    found = goals_of(
        {"pretraining": {"updates_per_second": 30.0, "busy": 0.7}, "learning": {"blocks": blocks, "masking": masking}}
    )
    assert [goal["met"] for goal in found] == [True, False, False, True]
