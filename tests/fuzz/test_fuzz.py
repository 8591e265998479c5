"""The fuzz itself: what it draws, what it notices, and some of its mutations."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import click
import pytest

from fmalloc_shared.commands.command import Command
from fmalloc_shared.errors import FmallocError
from tests.fuzz.campaign import prepare
from tests.fuzz.case import Ready, judge
from tests.fuzz.commands import Call
from tests.fuzz.subjects import SIGNED, Subject, subjects
from tests.support import ROOT
from tests.support.once import once

# Those that need no PyTorch.
QUICK = ("bundles", "packed bundles", "server", "files", *SIGNED)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> list[Ready]:
    """Subjects that are quick to build and to read."""
    work = tmp_path_factory.mktemp("fuzz")
    return prepare([subject for subject in subjects() if subject.name in QUICK], work)


def test_some_mutations_are_borne(ready: list[Ready], tmp_path: Path) -> None:
    verdicts = [judge(ready, 7, number, tmp_path) for number in range(40)]
    assert [(verdict.number, verdict.mutation, verdict.wrong) for verdict in verdicts if verdict.wrong] == []
    assert {verdict.subject for verdict in verdicts} == set(QUICK)
    codes = Counter(outcome.code for verdict in verdicts for outcome in verdict.outcomes)
    assert set(codes) == {0, 2} and codes[2] > 40
    again = [judge(ready, 7, number, tmp_path) for number in (3, 4)]
    assert [verdict.mutation for verdict in again] == [verdict.mutation for verdict in verdicts[3:5]]


@click.command(cls=Command)
@click.argument("what")
def misbehaving(what: str) -> None:
    """Does what a command must not do, once its file was mutated."""
    content = Path("file.json").read_bytes() if Path("file.json").is_file() else b""
    if content == b'{"a": 1}':
        click.echo("right")
        return
    match what:
        case "fails":
            raise KeyError(what)
        case "exits":
            raise SystemExit(3)
        case "escapes":
            raise click.ClickException("\x1b[31m")
        case "writes":
            Path("more").write_bytes(b"")
            raise FmallocError("no")
        case "answers":
            click.echo("wrong")
        case "floods":
            click.echo("x" * 200_000)
        case _:
            raise FmallocError("no")


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("fails", "KeyError: 'fails'"),
        ("exits", "exit code 3"),
        ("escapes", "prints '\\x1b'"),
        ("writes", "the input was changed: "),
        ("answers", "answers as another model does"),
        ("floods", "answers as another model does"),
        ("refuses", None),
    ],
)
def test_it_notices_what_must_not_be(tmp_path: Path, what: str, problem: str | None) -> None:
    call = Call("it", misbehaving, (what,), answer="output")
    subject = Subject(
        "file", lambda folder: (folder / "file.json").write_bytes(b'{"a": 1}') and None, ("*",), (call,), 1
    )
    verdict = judge(prepare([subject], tmp_path), 1, 5, tmp_path / "work")
    wrong = "\n".join(verdict.wrong)
    assert problem in wrong if problem else not wrong


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_hundred_mutations_of_everything_are_borne(tmp_path_factory: pytest.TempPathFactory) -> None:
    def run(folder: Path) -> None:
        command = [sys.executable, "-m", "tests.fuzz", "--count", "500", "--first", "1", "--seed", "11"]
        environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'export'}:{ROOT / 'runtime'}",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
        (folder / "output").write_text(f"{done.returncode}\n{done.stderr[-5000:]}")

    code, _, errors = (once(tmp_path_factory, "fuzz", run) / "output").read_text().partition("\n")
    assert code == "0", errors
