"""A server process of our own, started, watched and stopped from outside."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from fmalloc_runtime.bundle.bundle import LIVE_FILE, LiveIndex
from fmalloc_shared.files import write_atomically

_COMMAND = (sys.executable, "-m", "fmalloc", "serve")
_PATIENCE = 60.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    started_in: float

    def get(self, path: str) -> Any:
        """The JSON at a path, whatever the status."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=_PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def metrics(self) -> dict[str, float]:
        """Samples of /metrics by name and labels as they are written there."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=_PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def resident_mb(self) -> float:
        """Memory of the process in RAM, in MB."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE)


@contextmanager
def serving(bundles: Path, log: Path, *flags: object, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Serve `bundles` on a free port until the block ends; what it logs goes to `log`."""
    began = time.perf_counter()
    position = log.stat().st_size if log.exists() else 0
    process = launch(bundles, log, *flags, environment=environment)
    try:
        url = _announced(process, log, position)
        yield Server(url, process, log, time.perf_counter() - began)
    finally:
        process.kill()
        process.wait()


def launch(
    bundles: Path, log: Path, *flags: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start to serve `bundles` on a free port; what it logs is appended to `log`."""
    arguments = [*_COMMAND, str(bundles), "--port", "0", "--device", "cpu", *map(str, flags)]
    with log.open("a") as file:
        return subprocess.Popen(arguments, stderr=file, text=True, env={**os.environ, **(environment or {})})


def _announced(process: subprocess.Popen[str], log: Path, position: int) -> str:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with log.open() as file:
            file.seek(position)
            for line in file:
                if "listening on " in line and line.endswith("\n"):
                    return line.split("listening on ")[1].split()[0].strip('",}')
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise RuntimeError(f"the server did not start; see {log}")


def make_live(bundles: Path, domains: Mapping[str, str]) -> None:
    """Point live.json at these bundles, by domain."""
    write_atomically(bundles / LIVE_FILE, LiveIndex(domains=dict(domains)).to_bytes())
