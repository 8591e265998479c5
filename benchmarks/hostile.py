"""The phase in which clients send what no client should: schemathesis by the server's own description, and a fuzzer."""

import asyncio
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

from benchmarks.background import repeat, steady
from benchmarks.fuzz import messages
from benchmarks.phase import Record, Setting
from benchmarks.raw import send
from benchmarks.serving import Server

_FUZZED = 4000  # a repeat
_EXAMPLES = 60  # of each operation, and as many again of systematic ones
_AT_ONCE = 16
# Some of them are cut short, so that the server waits for the rest: it is not waited for.
_PATIENCE = 2.0
_SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def malformed(setting: Setting, record: Record) -> None:
    """Ten thousand malformed requests while others ask on: no 5xx, and the server goes on as if nothing had been."""
    sent = 0
    with setting.serve("--body-seconds", 5, "--header-seconds", 5) as server:

        def attack(turn: int) -> None:
            nonlocal sent
            amount = setting.times(_FUZZED)
            with steady(server, record, setting.truth.calls, at_once=1):
                statuses = asyncio.run(_fuzz(server.url, amount, seed=turn))
            record.count(statuses)
            record.facts[f"fuzzed_{turn}"] = {str(status): count for status, count in sorted(statuses.items())}
            sent += amount + _described(server, setting, record, seed=turn)

        repeat(server, record, setting.truth.calls, attack)
        record.check("the server lives", server.process.poll() is None)
    record.facts["malformed"] = sent
    record.check(f"at least {setting.times(10_000)} malformed requests", sent >= setting.times(10_000), sent)


async def _fuzz(url: str, amount: int, seed: int) -> Counter[int]:
    """Send so many messages of the fuzzer; the statuses of the answers, 0 for none."""
    waiting, statuses = islice(messages(seed), amount), Counter[int]()

    async def client() -> None:
        for message in waiting:
            statuses[(await send(url, message, _PATIENCE)).status] += 1

    await asyncio.gather(*(client() for _ in range(_AT_ONCE)))
    return statuses


def _described(server: Server, setting: Setting, record: Record, seed: int) -> int:
    """Let schemathesis send what the description allows and what it does not; how many requests that were."""
    command = [
        *(str(_SCHEMATHESIS), "run", f"{server.url}/openapi.json", "--checks", ",".join(_CHECKS)),
        *("--phases", "coverage,fuzzing", "--mode", "all", "--max-examples", str(setting.times(_EXAMPLES))),
        *("--seed", str(seed), "--workers", "2", "--generation-database", "none", "--suppress-health-check", "all"),
        *("--no-shrink", "--continue-on-failure", "--request-timeout", "60", "--no-color", "--warnings", "off"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=setting.work)
    (setting.work / f"schemathesis-{seed}.txt").write_text(done.stdout + done.stderr)
    found = re.search(r"(\d+) generated", done.stdout)
    record.check("schemathesis finds nothing", done.returncode == 0, done.stdout[-1500:] + done.stderr[-500:])
    return int(found[1]) if found else 0
