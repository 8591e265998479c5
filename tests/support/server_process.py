"""A real `fmalloc serve` process, and a socket to talk to it as rudely as a test needs."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import ROOT

CODE = "from fmalloc_runtime.server.command import serve; serve()"


@dataclass(frozen=True)
class Server:
    """The process and the port that it listens on."""

    process: subprocess.Popen[str]
    port: int

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, method: str, path: str, fields: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer; its text, where it is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            body = None if fields is None else json.dumps(fields)
            connection.request(method, path, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            content = answer.read().decode()
            return answer.status, json.loads(content) if answer.headers[
                "Content-Type"
            ] == "application/json" else content
        finally:
            connection.close()

    def translate(self, texts: str | list[str], **fields: Any) -> tuple[int, Any]:
        """POST /translate."""
        return self.ask("POST", "/translate", {"q": texts, "source": "de", "target": "en", **fields})

    def end(self, timeout: float = 20.0) -> tuple[int, str]:
        """Exit status and what else was logged, once the process has ended by itself."""
        _, rest = self.process.communicate(timeout=timeout)
        return self.process.returncode, rest


@contextmanager
def serving(bundles: Path, *flags: str) -> Iterator[Server]:
    """A server on a free port; killed at the end if it still runs."""
    command = [sys.executable, "-c", CODE, str(bundles), "--port", "0", "--device", "cpu", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "runtime"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)
            assert found, line + process.stderr.read()
            yield Server(process, int(found[1]))
        finally:
            process.kill()
