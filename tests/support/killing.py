"""Run a command, kill it with -9 at random moments, and run it again until it is through."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support import ROOT


def environment(**more: str) -> dict[str, str]:
    """The environment of a subprocess that imports the packages from the repository, on one thread."""
    roots = [str(ROOT / root) for root in (".", "export", "runtime")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "OMP_NUM_THREADS": "1", **more}


def run_through(command: Sequence[str]) -> None:
    """Run the command undisturbed; it has to succeed."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_and_kill(command: Sequence[str], kills: int, seed: int, *, checkpoint: Path, after: Callable[[], bool]) -> None:
    """Kill the command once its `checkpoint` exists, then at random moments, so many times; then let it end.

    The moments are drawn around the time that it took to come to its checkpoint: before that there is little to lose.
    `after` checks what a killed process left, and says whether that was all it had to do.
    """
    moments, env = random.Random(seed), environment(FMALLOC_CHECKPOINT_SECONDS="0.1")
    started, seconds = time.monotonic(), 0.0
    for attempt in range(kills + 1):
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if attempt == 0:
            while process.poll() is None and not checkpoint.exists():
                time.sleep(0.005)
            assert process.poll() is None, "it ended before it could be killed"
            process.send_signal(signal.SIGKILL)
            seconds = time.monotonic() - started
        elif attempt < kills:
            try:
                process.wait(timeout=seconds * moments.uniform(0.5, 1.5))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        if after() or process.returncode == 0:
            return
        assert process.returncode == -signal.SIGKILL, errors.decode()
    raise AssertionError(f"killed {kills} times and not through at last")
