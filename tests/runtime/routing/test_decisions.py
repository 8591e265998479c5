"""The decision log: what a line holds, that lines stay whole, and that nothing about it can fail a request."""

import json
import logging
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fmalloc_runtime import logs
from fmalloc_runtime.routing.decisions import Decision, DecisionLog
from fmalloc_runtime.routing.replay import read_decisions
from fmalloc_runtime.routing.router import Route
from fmalloc_shared.errors import FmallocError
from tests.support.killing import environment

ROUTE = Route("it", 0.75, {"general": 0.25, "it": 0.75}, "detected", "it@0123456789ab")
TEXTS = ["Die Datei\r\n\r\nist offen.", "Größe"]


def logged(path: Path) -> list[Decision]:
    return list(read_decisions(path))


def opened(directory: Path) -> int:
    """How many descriptors of this process are of files in the directory, deleted ones too."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += entry.readlink().is_relative_to(directory)
    return count


def test_a_line_tells_what_was_decided_and_counts_the_text(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    before = datetime.now(UTC)
    log.record("auto", TEXTS, ROUTE)
    log.close()
    (line,) = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    found = json.loads(line)
    assert abs(datetime.fromisoformat(found.pop("time")) - before) < timedelta(seconds=60)
    assert found == {
        "version": 1,
        "asked": "auto",
        "domain": "it",
        "score": 0.75,
        "scores": {"general": 0.25, "it": 0.75},
        "reason": "detected",
        "bundle": "it@0123456789ab",
        "texts": 2,
        "lines": 3,
        "characters": len("".join(TEXTS)),
    }


def test_text_is_kept_only_if_it_is_wanted(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl", keep_text=True)
    log.record("it", [*TEXTS, "half \ud800 a pair\u2028"], ROUTE)
    (decision,) = logged(tmp_path / "log.jsonl")
    assert decision.text == (*TEXTS, "half ? a pair\u2028")
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o007 == 0


def test_a_line_carries_the_id_of_its_request(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    token = logs.request_id.set("7f")
    log.record("auto", TEXTS, ROUTE)
    logs.request_id.reset(token)
    log.record("auto", TEXTS, ROUTE)
    assert [decision.request for decision in logged(tmp_path / "log.jsonl")] == ["7f", None]


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = DecisionLog(None, keep_text=True)
    log.record("auto", TEXTS, ROUTE)
    log.close()
    assert not list(tmp_path.iterdir()) and log.lost == 0


def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match=r"absent/log.jsonl: decisions cannot be logged there: No such file"):
        DecisionLog(tmp_path / "absent" / "log.jsonl")


def test_lines_of_threads_never_interleave(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl", keep_text=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: log.record("auto", [str(number) * 5000], ROUTE), range(200)))
    found = {decision.text for decision in logged(tmp_path / "log.jsonl")}
    assert found == {(str(number) * 5000,) for number in range(200)}


def test_lines_of_processes_never_interleave(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write = (
        "import sys; from pathlib import Path; from fmalloc_runtime.routing.decisions import *\n"
        "log = DecisionLog(Path(sys.argv[1]), True); route = Route('it', 1.0, {'it': 1.0}, '', '')\n"
        "for _ in range(300): log.record('auto', [sys.argv[2] * 9000], route)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", write, str(path), letter], env=environment()) for letter in "abc"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    texts = [decision.text for decision in logged(path)]
    assert sorted(texts) == sorted((letter * 9000,) for letter in "abc" for _ in range(300))


@pytest.mark.parametrize("rotate", [lambda path: path.rename(path.with_name("log.1")), Path.unlink])
def test_a_file_that_was_moved_or_deleted_is_opened_again(tmp_path: Path, rotate) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "log.jsonl"
    log = DecisionLog(path)
    log.record("auto", TEXTS, ROUTE)
    rotate(path)
    log.record("it", TEXTS, ROUTE)
    assert [decision.asked for decision in logged(path)] == ["it"]
    path.write_bytes(b"")  # as with logrotate's copytruncate
    log.record("auto", TEXTS, ROUTE)
    assert [decision.asked for decision in logged(path)] == ["auto"]
    assert log.lost == 0


def test_descriptors_are_not_lost_in_rotations(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = DecisionLog(path)
    for _ in range(50):
        path.unlink()
        log.record("auto", TEXTS, ROUTE)
    assert opened(tmp_path) == 1
    log.close()
    assert opened(tmp_path) == 0


def test_a_full_disk_is_said_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog(Path("/dev/full"))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            log.record("auto", TEXTS, ROUTE)
    assert log.lost == 3
    assert [record.getMessage() for record in caplog.records] == [
        "/dev/full: decisions are lost: [Errno 28] No space left on device"
    ]


def test_half_a_line_is_taken_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The disk gets full within a line: readers never see the half that was written."""
    path = tmp_path / "log.jsonl"
    log = DecisionLog(path)
    log.record("auto", TEXTS, ROUTE)
    size = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
    try:
        log.record("auto", TEXTS, ROUTE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (log.lost, path.stat().st_size) == (1, size)
    assert "10 of " in caplog.text
    log.record("it", TEXTS, ROUTE)
    assert [decision.asked for decision in logged(path)] == ["auto", "it"]
    assert log.lost == 1


def test_the_folder_may_vanish_and_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = DecisionLog(folder / "log.jsonl")
    folder.rename(tmp_path / "elsewhere")
    log.record("auto", TEXTS, ROUTE)
    assert log.lost == 1
    folder.mkdir()
    log.record("auto", TEXTS, ROUTE)
    assert len(logged(folder / "log.jsonl")) == 1
