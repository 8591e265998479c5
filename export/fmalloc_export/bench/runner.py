"""A process of its own for one model, so that its memory and its threads are its own.

`python -m fmalloc_export.bench.runner` is that process: one JSON object per line, either way.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from fmalloc_export.bench.contestant import Contestant, Loaded
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

_STATUS = Path("/proc/self/status")
# The process of what Contestant.load loads.
OWN = (sys.executable, "-m", "fmalloc_export.bench.runner")


@dataclass(frozen=True)
class Timed:
    """Translations, and the seconds of each call, from text to text."""

    texts: list[str]
    seconds: list[float]


@dataclass(frozen=True)
class Decoded:
    """Tokens of each source and of each translation, ends counted, and the seconds of each call, tokens to tokens."""

    sources: list[int]
    targets: list[int]
    seconds: list[float]


class Runner:
    """A loaded model in its process; `load_seconds` it took to load, `first_seconds` for the first sentence."""

    def __init__(self, contestant: Contestant, process: "subprocess.Popen[str]", loaded: dict[str, Any]) -> None:
        self.contestant = contestant
        self.load_seconds: float = loaded["load"]
        self.first_seconds: float = loaded["first"]
        self._process = process

    @classmethod
    @contextmanager
    def start(cls, contestant: Contestant, first: str, command: Sequence[str] = OWN) -> Iterator["Runner"]:
        """The process, until the block is left; it has translated `first` once.

        `command`: another process that answers as this module does.

        Raises:
            FmallocError: the model cannot be loaded.
        """
        threads = {"OMP_NUM_THREADS": str(contestant.threads)} if contestant.threads else {}
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **threads, "PYTHONUTF8": "1"},
        )
        try:
            loaded = _ask(contestant, process, {"contestant": fields_of(contestant), "first": first})
            yield cls(contestant, process, loaded)
        finally:
            process.kill()
            process.communicate()

    def translate(self, lines: Sequence[str], batch: int) -> Timed:
        """Translate the lines in batches of so many, one after another."""
        found = _ask(self.contestant, self._process, {"lines": list(lines), "batch": batch})
        return Timed(found["texts"], found["seconds"])

    def decode(self, lines: Sequence[str], batch: int) -> Decoded:
        """Translate the lines in batches of so many; making tokens of text, and text of tokens, is not timed."""
        return Decoded(**_ask(self.contestant, self._process, {"lines": list(lines), "batch": batch, "decode": True}))

    def memory(self) -> int | None:
        """Bytes that the process has in memory now, Python and libraries included; None where nobody says."""
        found: int | None = _ask(self.contestant, self._process, {"memory": True})["memory"]
        return found


def _ask(contestant: Contestant, process: "subprocess.Popen[str]", message: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except BrokenPipeError:
        answer = ""
    if not answer:
        raise FmallocError(
            f"{contestant.name}: its process ended (exit code {process.wait()}); is there memory enough?"
        )
    found: dict[str, Any] = json.loads(answer)
    if "error" in found:
        raise FmallocError(f"{contestant.name}: {found['error']}")
    return found


def fields_of(contestant: Contestant) -> dict[str, Any]:
    """A contestant as JSON has it."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(contestant).items()}


def contestant_of(fields: dict[str, Any]) -> Contestant:
    """What `fields_of` made fields of."""
    tokenizer = fields["tokenizer"] and Path(fields["tokenizer"])
    languages = LanguagePair(**fields["languages"])
    return Contestant(**{**fields, "path": Path(fields["path"]), "languages": languages, "tokenizer": tokenizer})


def serve(load: Callable[[dict[str, Any]], Loaded], requests: IO[str], answers: IO[str]) -> None:
    """Answer a Runner's requests until there are no more; `load` is called with the contestant's fields."""

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    given = json.loads(requests.readline())
    try:
        began = time.perf_counter()
        model = load(given["contestant"])
        loaded = time.perf_counter()
        model.translate([given["first"]])
        answer({"load": loaded - began, "first": time.perf_counter() - loaded})
        for line in requests:
            request = json.loads(line)
            if "memory" in request:
                answer({"memory": resident_bytes()})
            elif "decode" in request:
                answer(asdict(_decode(model, _batches(request))))
            else:
                answer(asdict(_translate(model, _batches(request))))
    except FmallocError as error:
        answer({"error": str(error)})


def _batches(request: dict[str, Any]) -> Iterator[list[str]]:
    lines, size = request["lines"], request["batch"]
    return (lines[start : start + size] for start in range(0, len(lines), size))


def _translate(model: Loaded, batches: Iterator[list[str]]) -> Timed:
    texts, seconds = [], []
    for batch in batches:
        began = time.perf_counter()
        texts += model.translate(batch)
        seconds.append(time.perf_counter() - began)
    return Timed(texts, seconds)


def _decode(model: Loaded, batches: Iterator[list[str]]) -> Decoded:
    found = Decoded([], [], [])
    for batch in batches:
        tokens, lengths = model.encode(batch)
        found.sources.extend(lengths)
        began = time.perf_counter()
        found.targets.extend(model.decode(tokens))
        found.seconds.append(time.perf_counter() - began)
    return found


def resident_bytes() -> int | None:
    """Of this process in memory now; None where nobody says."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)


if __name__ == "__main__":
    answers = sys.stdout
    with redirect_stdout(sys.stderr):  # whatever libraries print
        serve(lambda fields: contestant_of(fields).load(), sys.stdin, answers)
