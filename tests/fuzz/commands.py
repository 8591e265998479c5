"""Commands run in this process, and what may not come of one: another exit code than 0 and 2, a traceback, escapes."""

import json
import re
import shutil
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import click
from click.testing import CliRunner

# Seconds of this process's time, and megabytes beyond what it had before.
SECONDS, MEGABYTES = 10.0, 300.0
# Terminals obey these, all but line breaks and tabs.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
_WARNED = re.compile(r"\.py:\d+: \w*Warning")


@dataclass(frozen=True)
class Call:
    """A command. `answer`: what has to be the same for the same model: its output, or the bundles that it wrote."""

    name: str
    command: click.Command
    arguments: tuple[str, ...]
    input: bytes | None = None
    answer: Literal["output", "bundles"] | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a call: all that it printed, the answer, seconds, megabytes, and what should not have been."""

    call: str
    code: int
    text: str
    answer: str | None
    seconds: float
    megabytes: float
    wrong: list[str] = field(default_factory=list)


def run(call: Call) -> Outcome:
    """Run a command in the working directory."""
    output = Path("../output")
    if call.answer == "bundles":
        shutil.rmtree(output, ignore_errors=True)
    before = _reset_peak()
    began = time.process_time()
    result = CliRunner().invoke(call.command, list(call.arguments), input=call.input, color=True)
    seconds, megabytes = time.process_time() - began, max(0.0, _memory("VmHWM") - before)
    printed = result.stderr if call.answer == "output" else result.output
    answer = None
    if call.answer and result.exit_code == 0:
        answer = result.stdout_bytes.hex() if call.answer == "output" else _compiled(output)
    wrong = list(_wrong(result.exit_code, printed, result.stderr))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        wrong.append("".join(traceback.format_exception(result.exception)[-4:]))
    if seconds > SECONDS:
        wrong.append(f"took {seconds:.1f} s")
    if megabytes > MEGABYTES:
        wrong.append(f"took {megabytes:.0f} MB")
    return Outcome(call.name, result.exit_code, result.output, answer, seconds, megabytes, wrong)


def _wrong(code: int, printed: str, errors: str) -> Iterator[str]:
    if code not in (0, 2):
        yield f"exit code {code}"
    if "Traceback (most recent call last)" in errors:
        yield f"a traceback: {errors[-1500:]}"
    if code == 2 and not errors.strip() and not printed.strip():
        yield "exit code 2 without a word"
    if found := _CONTROL.search(printed):
        yield f"prints {found[0]!r} in {printed[max(0, found.start() - 60) : found.end() + 20]!r}"
    if warned := _WARNED.search(errors):
        yield f"a warning of Python: {errors[max(0, warned.start() - 60) : warned.end() + 200]}"
    if len(printed) > 100_000:
        yield f"prints {len(printed)} characters"


def _compiled(output: Path) -> str:
    """Digests of the files of each bundle, and what else is not about where it came from."""
    manifests = sorted(output.glob("*@*/manifest.json"))
    contents = [{k: v for k, v in json.loads(path.read_text()).items() if k != "source"} for path in manifests]
    return json.dumps(contents, sort_keys=True)


def _reset_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0
