"""The log of corrections: on disk when it says so, once each, whole lines, bounded, shared by processes."""

import json
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fmalloc_runtime.corrections.log import CorrectionLog
from fmalloc_runtime.errors import CorrectionsFullError
from fmalloc_shared.corrections import Correction, read_log
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from tests.support.killing import environment

LIMIT = 2**20


def correction(number: int | str, domain: str = "it") -> Correction:
    return Correction(
        time="2026-11-29T02:18:54.000+00:00",
        languages=LanguagePair("de", "en"),
        asked=domain,
        domain=domain,
        score=1.0,
        bundle="it@0123456789ab",
        source=f"Das Fenster {number}",
        target=f"The window {number}",
    )


def kept(path: Path) -> list[str]:
    return [found.source.removeprefix("Das Fenster ") for _, found in read_log(path)]


def test_each_domain_has_a_file_and_each_correction_a_line(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path / "new" / "folder", LIMIT)
    assert log.keep("it", [correction(1), correction(2), correction(1)]) == [True, True, False]
    assert log.keep("it", [correction(2), correction(3)]) == [False, True]
    assert log.keep("law", [correction(1, "law")]) == [True]
    assert kept(tmp_path / "new/folder/it.jsonl") == ["1", "2", "3"]
    assert kept(tmp_path / "new/folder/law.jsonl") == ["1"]
    assert (tmp_path / "new/folder/it.jsonl").stat().st_mode & 0o007 == 0


def test_another_server_knows_what_is_kept(tmp_path: Path) -> None:
    first, second = CorrectionLog(tmp_path, LIMIT), CorrectionLog(tmp_path, LIMIT)
    first.keep("it", [correction(1)])
    assert second.keep("it", [correction(1), correction(2)]) == [False, True]
    assert first.keep("it", [correction(2)]) == [False]
    assert kept(tmp_path / "it.jsonl") == ["1", "2"]


def test_a_torn_line_is_cut_off_and_what_stands_before_it_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "it.jsonl"
    for torn in (b"{", correction(2).to_line()[:-1], b"\0" * 4096):
        path.write_bytes(correction(1).to_line() + torn)
        log = CorrectionLog(tmp_path, LIMIT)
        assert log.keep("it", [correction(1), correction(2)]) == [False, True]
        assert kept(path) == ["1", "2"]
        assert f"{len(torn)} bytes of an unfinished line were cut off" in caplog.text


def test_what_is_no_log_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "it.jsonl").write_bytes(correction(1).to_line() + b"{}\n")
    with pytest.raises(FmallocError, match=r"it.jsonl:2: "):
        CorrectionLog(tmp_path, LIMIT)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FmallocError, match=r"file: corrections cannot be kept there: File exists"):
        CorrectionLog(tmp_path / "file", LIMIT)


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "log", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.write_bytes(b"")
    (folder / "it.jsonl").symlink_to(elsewhere)
    with pytest.raises(FmallocError, match="corrections cannot be kept there"):
        CorrectionLog(folder, LIMIT)


def test_beyond_the_limit_nothing_of_the_request_is_kept(tmp_path: Path) -> None:
    size = len(correction(1).to_line())
    log = CorrectionLog(tmp_path, 2 * size)
    log.keep("it", [correction(1)])
    with pytest.raises(CorrectionsFullError, match=f"more than {2 * size} bytes, the limit of this server"):
        log.keep("it", [correction(2), correction(3)])
    assert log.keep("it", [correction(2), correction(1)]) == [True, False]
    assert log.keep("law", [correction(1, "law")]) == [True]
    assert kept(tmp_path / "it.jsonl") == ["1", "2"]


def test_a_file_that_was_moved_away_begins_anew(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path, LIMIT)
    log.keep("it", [correction(1)])
    (tmp_path / "it.jsonl").rename(tmp_path / "learned")
    assert log.keep("it", [correction(1), correction(2)]) == [True, True]
    assert kept(tmp_path / "it.jsonl") == ["1", "2"] and kept(tmp_path / "learned") == ["1"]


def test_half_a_line_is_taken_back(tmp_path: Path) -> None:
    """The disk gets full within a line."""
    log = CorrectionLog(tmp_path, LIMIT)
    log.keep("it", [correction(1)])
    size = (tmp_path / "it.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
    try:
        with pytest.raises(CorrectionsFullError, match="no room"):
            log.keep("it", [correction(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "it.jsonl").stat().st_size == size
    assert log.keep("it", [correction(2)]) == [True]
    assert kept(tmp_path / "it.jsonl") == ["1", "2"]


def test_threads_keep_each_correction_once(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path, LIMIT)
    with ThreadPoolExecutor(8) as pool:
        fresh = list(pool.map(lambda number: log.keep("it", [correction(number % 50)]), range(200)))
    assert sum(one for (one,) in fresh) == 50
    assert sorted(kept(tmp_path / "it.jsonl")) == sorted(map(str, range(50)))


_WRITER = """
import sys
from pathlib import Path
from fmalloc_runtime.corrections.log import CorrectionLog
from fmalloc_shared.corrections import Correction
template = Correction.parse(sys.argv[2].encode(), "argument")
log = CorrectionLog(Path(sys.argv[1]), 2**24)
for number in range(int(sys.argv[3])):
    filler = "x" * 3000
    log.keep("it", [template.model_copy(update={"source": f"Das Fenster {number}", "target": f"{filler} {number}"})])
    print(number, flush=True)
"""


def writer(folder: Path, count: int) -> subprocess.Popen[str]:
    line = json.dumps(correction("").model_dump(mode="json"))
    command = [sys.executable, "-c", _WRITER, str(folder), line, str(count)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)


def test_processes_keep_each_correction_once_and_whole(tmp_path: Path) -> None:
    writers = [writer(tmp_path, 100) for _ in range(3)]
    for process in writers:
        assert len(process.communicate(timeout=60)[0].split()) == 100
    assert sorted(kept(tmp_path / "it.jsonl"), key=int) == list(map(str, range(100)))


def test_what_was_said_to_be_kept_survives_a_kill(tmp_path: Path) -> None:
    process = writer(tmp_path, 100_000)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(40)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    CorrectionLog(tmp_path, 2**24).keep("it", [correction("last")])
    found = kept(tmp_path / "it.jsonl")
    assert set(map(str.strip, said)) <= set(found) and found[-1] == "last"
