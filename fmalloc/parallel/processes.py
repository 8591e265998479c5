"""Several processes at once: so many that run, what they say, and how all end when one fails or a signal comes."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Thread
from typing import IO

from fmalloc.training.interrupts import Interrupts, stop
from fmalloc_shared.commands.progress import console, lines
from fmalloc_shared.errors import FmallocError

_ERROR = "Error: "
_LOOKED = 0.2  # seconds between looks at signals


@dataclass(frozen=True)
class Job:
    """A command to run under a name; one of the `places` is added to its environment while it runs."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[str]
    place: Mapping[str, str]
    reader: Thread
    said: list[str] = field(default_factory=list)
    """What it said from its error on."""

    def end(self) -> None:
        """Ask it to save and end, unless it has ended."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self.process.wait()
        self.reader.join()
        for stream in (self.process.stdin, self.process.stderr):
            if stream:
                stream.close()
        return code


def run_all(jobs: Sequence[Job], places: Sequence[Mapping[str, str]]) -> None:
    """Run all jobs, as many at once as there are places; each sees the environment of its place.

    Raises:
        FmallocError: a job ended with 2, or was killed; it is named, and the others were asked to end and waited for.
        SystemExit: a job ended otherwise, with its exit code; what it said was shown.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; all were asked to end and waited for.
    """
    waiting, free = list(jobs), list(places)
    running: dict[str, _Running] = {}
    said: Queue[tuple[str, str | None]] = Queue()
    with lines([job.name for job in jobs]) as say, Interrupts(held=True) as interrupts:
        try:
            while waiting or running:
                while waiting and free:
                    job = waiting.pop(0)
                    running[job.name] = _start(job, free.pop(0), said)
                if interrupts.pending is not None:
                    stop(interrupts.pending)
                try:
                    name, line = said.get(timeout=_LOOKED)
                except Empty:
                    continue
                if line is None:
                    ended = running.pop(name)
                    _check(ended)
                    free.append(ended.place)
                elif running[name].said or line.startswith(_ERROR):
                    running[name].said.append(line)
                else:
                    say(name, line)
        finally:
            for other in running.values():
                other.end()
            for other in running.values():
                other.wait()


def _start(job: Job, place: Mapping[str, str], said: "Queue[tuple[str, str | None]]") -> _Running:
    process = subprocess.Popen(
        job.command,
        env={**job.environment, **place},
        stdin=subprocess.PIPE,  # ends with this process, and so does the other one
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is this process's to hand on
    )
    assert process.stderr is not None
    reader = Thread(target=_read, args=(job.name, process.stderr, said), daemon=True)
    reader.start()
    return _Running(job, process, place, reader)


def _read(name: str, stream: IO[str], said: "Queue[tuple[str, str | None]]") -> None:
    for line in stream:
        said.put((name, line.rstrip()))
    said.put((name, None))


def _check(ended: _Running) -> None:
    """Raise what tells how a process failed, if it did."""
    code, name = ended.wait(), ended.job.name
    if code == 0:
        return
    others = "the others were stopped; what was finished is kept, and the same command goes on"
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        raise FmallocError(f"{name}: its process was ended by {signal.Signals(number).name}; {others}")
    message = "\n".join(ended.said).removeprefix(_ERROR) or f"its process ended with {code}"
    if code == 2:
        raise FmallocError(f"{name}: {message}\n{others}")
    console.print(f"{name}: {message}; {others}", markup=False)
    raise SystemExit(code)
