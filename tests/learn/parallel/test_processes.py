"""Processes at once: what they say, how many run, and how one that fails ends the others."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fmalloc.parallel.processes import Job, run_all
from fmalloc_shared.errors import FmallocError
from tests.support.killing import environment

# Says that it runs, and then waits to be asked to end.
WAITS = "import sys, time; print('waits', file=sys.stderr, flush=True); time.sleep(60)"


def job(name: str, program: str) -> Job:
    return Job(name, [sys.executable, "-c", program], dict(os.environ))


def test_each_has_a_place_and_every_line_its_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys, time; place = pathlib.Path(os.environ['PLACE']); place.mkdir(); time.sleep(0.05); "
        "print('in', place.name, file=sys.stderr); place.rmdir()"
    )
    jobs = [job(name, program) for name in ("law", "it", "press", "garden")]
    run_all(jobs, [{"PLACE": str(tmp_path / "a")}, {"PLACE": str(tmp_path / "b")}])
    said = capsys.readouterr().err.splitlines()
    assert sorted(line.partition(":")[0] for line in said) == ["garden", "it", "law", "press"]
    assert {line.partition(": ")[2] for line in said} == {"in a", "in b"}


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("print('Error: no cell\\nis left', file=sys.stderr); sys.exit(2)", "^law: no cell\nis left\nthe others were"),
        ("sys.exit(2)", "^law: its process ended with 2"),
        ("os.kill(os.getpid(), 9)", "^law: its process was ended by SIGKILL; the others were stopped"),
        ("sys.exit(143)", "^law: its process was ended by SIGTERM"),
    ],
)
def test_a_failure_names_the_job_and_ends_the_others(program: str, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(FmallocError, match=message):
        run_all([job("law", f"import os, sys; {program}"), job("it", WAITS)], [{}, {}])
    assert time.monotonic() - began < 30


def test_a_defect_is_shown_and_ends_all_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_all([job("law", "1 / 0"), job("it", WAITS)], [{}, {}])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "law: ZeroDivisionError: division by zero" in said and "law: its process ended with 1; the others" in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_handed_on_and_waited_for(number: signal.Signals, code: int, tmp_path: Path) -> None:
    saves = f"import pathlib, signal, sys; signal.signal(15, lambda *_: [pathlib.Path({str(tmp_path / 'saved')!r})"
    saves += f".touch(), sys.exit(143)]); {WAITS}"
    program = (
        "import os, sys; from fmalloc.parallel.processes import Job, run_all\n"
        "from fmalloc.training.interrupts import exit_code\n"
        f"try: run_all([Job('law', [sys.executable, '-c', {saves!r}], dict(os.environ))], [{{}}])\n"
        "except BaseException as error: sys.exit(exit_code(error))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    while "law: waits" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code and (tmp_path / "saved").exists()
