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


def seconds_of(command: Sequence[str]) -> float:
    """How long the command takes when nothing disturbs it; it has to succeed."""
    started = time.monotonic()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - started


def run_and_kill(
    command: Sequence[str], seconds: float, seed: int, *, checkpoint: Path, after: Callable[[], bool]
) -> None:
    """Kill the command once its `checkpoint` exists, then at random moments of the `seconds` it needs, until it ends.

    `after` checks what a killed process left, and says whether that was all it had to do.
    """
    moments, env = random.Random(seed), environment(FMALLOC_CHECKPOINT_SECONDS="0.1")
    for attempt in range(40):
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if attempt == 0:
            while process.poll() is None and not checkpoint.exists():
                time.sleep(0.005)
            assert process.poll() is None, "it ended before it could be killed"
            process.send_signal(signal.SIGKILL)
        try:
            process.wait(timeout=seconds * moments.uniform(0.3, 0.9) * (1 + attempt / 10))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        finished = after()
        if process.returncode == 0 or finished:
            return
        assert process.returncode == -signal.SIGKILL, errors.decode()
    raise AssertionError("killed 40 times and still not through")
