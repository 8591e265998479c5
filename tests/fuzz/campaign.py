"""Many cases in a process of their own, which is started anew where one of them kills or hangs it."""

import faulthandler
import json
import multiprocessing
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.common import once
from tests.fuzz.case import Ready, Verdict, answers_of, judge
from tests.fuzz.subjects import Subject

# Seconds by the clock until a case counts as one that does not end: the machine may be busy.
_HANG = 60
# Bytes that a process may address beyond what it does at the start, so that what is boundless is found out by it alone.
_ADDRESSES = 6 * 2**30
# Cases after which a process is replaced.
_LIFE = 250


Show = Callable[["Judged"], object]


@dataclass(frozen=True)
class Judged:
    """What is kept of a case."""

    number: int
    subject: str
    mutation: str
    codes: Sequence[int] = ()
    seconds: float = 0.0
    megabytes: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, verdict: Verdict) -> "Judged":
        """Without what was printed."""
        outcomes = verdict.outcomes
        return cls(
            verdict.number,
            verdict.subject,
            verdict.mutation,
            tuple(outcome.code for outcome in outcomes),
            max(outcome.seconds for outcome in outcomes),
            max(outcome.megabytes for outcome in outcomes),
            verdict.wrong,
        )


def prepare(subjects: Sequence[Subject], work: Path) -> list[Ready]:
    """Build the subjects below `work` and run their commands once, unless that was done."""
    work = work.resolve()
    ready = []
    for index, subject in enumerate(subjects):
        folder, answers = work / f"subject-{index}", work / f"answers-{index}.json"
        if not answers.exists():
            folder.mkdir(parents=True)
            subject.build(folder)
            answers.write_text(json.dumps(answers_of(subject, folder, work / "first")))
        ready.append(Ready(subject, folder, tuple(json.loads(answers.read_text()))))
    return ready


def judged(
    subjects: Sequence[Subject], seed: int, numbers: Sequence[int], work: Path, jobs: int, show: Show, kept: Path | None
) -> Iterator[Judged]:
    """The verdict of each case, in order, in as many processes at once as `jobs`; each is shown as soon as it is there.

    `kept`: a folder where finished blocks of cases are kept, so that a run that was stopped goes on.
    """
    building = multiprocessing.get_context("fork").Process(target=prepare, args=(subjects, work))
    building.start()
    building.join()
    if building.exitcode:
        raise ChildProcessError("the subjects could not be built")

    def block(start: int) -> list[Judged]:
        part = numbers[start : start + _LIFE]

        def judge_all() -> list[dict[str, Any]]:
            return [asdict(case) for case in _block(subjects, seed, part, work, show)]

        found = once(kept / f"{seed}-{part[0]}-{len(part)}.json", judge_all) if kept else judge_all()
        return [Judged(**case) for case in found]

    with ThreadPoolExecutor(jobs) as pool:
        for cases in pool.map(block, range(0, len(numbers), _LIFE)):
            yield from cases


def _block(subjects: Sequence[Subject], seed: int, numbers: Sequence[int], work: Path, show: Show) -> list[Judged]:
    found: list[Judged] = []
    while len(found) < len(numbers):
        for case in _in_a_process(subjects, seed, numbers[len(found) :], work):
            found.append(case)
            show(case)
    return found


def _in_a_process(subjects: Sequence[Subject], seed: int, numbers: Sequence[int], work: Path) -> Iterator[Judged]:
    """The verdicts until the process ends; the last is about what ended it, if it was not the last number."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(subjects, seed, numbers, work, there), daemon=True)
    process.start()
    there.close()
    expected = list(numbers)
    try:
        while expected:
            if not here.poll(_HANG):
                os.kill(process.pid or 0, signal.SIGABRT)  # shows where it is
                process.join(5)
                process.kill()
                yield Judged(expected[0], "?", "?", wrong=[f"no end after {_HANG} s"])
                return
            try:
                message = here.recv()
            except EOFError:
                process.join()
                yield Judged(expected[0], "?", "?", wrong=[f"the process ended with {process.exitcode}"])
                return
            expected.pop(0)
            yield message
    finally:
        process.kill()
        process.join()


def _work(subjects: Sequence[Subject], seed: int, numbers: Sequence[int], work: Path, results: Connection) -> None:
    faulthandler.enable()
    ready = prepare(subjects, work)
    work = work / f"process-{os.getpid()}"
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + _ADDRESSES, size + _ADDRESSES))
    for number in numbers:
        try:
            results.send(Judged.of(judge(ready, seed, number, work)))
        except BaseException:
            results.send(Judged(number, "?", "?", wrong=[traceback.format_exc()]))
