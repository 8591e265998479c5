"""Phases in which clients send what no client should: a fuzzer's bytes, and what schemathesis makes up."""

import asyncio
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

from benchmarks.serving.process import Server
from benchmarks.soak.background import repeat, steady
from benchmarks.soak.fuzz import messages
from benchmarks.soak.phase import Record, Setting
from benchmarks.soak.raw import send

_FUZZED = 7500  # a repeat; some mutations are good requests still
_EXAMPLES = 40  # of each operation, besides those that try out the limits one by one
# Texts at the limit are translated: a low one makes that quick.
_TEXT_LIMIT = 150
_AT_ONCE = 32
# Some of them are cut short, so that the server waits for the rest: it is not waited for.
_PATIENCE = 1.5
_SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def malformed(setting: Setting, record: Record) -> None:
    """Thousands of broken and mutated requests while others ask on: no 5xx, and the server goes on."""
    refused = 0
    with setting.serve("--body-seconds", 5, "--header-seconds", 5) as server:

        def attack(turn: int) -> None:
            nonlocal refused
            with steady(server, record, setting.truth.calls, at_once=1):
                statuses = asyncio.run(_fuzz(server.url, setting.times(_FUZZED), seed=turn))
            record.count(statuses)
            refused += sum(count for status, count in statuses.items() if 400 <= status < 500)
            record.facts[f"fuzzed_{turn}"] = {str(status): count for status, count in sorted(statuses.items())}
            record.check("the server lives", server.process.poll() is None)

        repeat(server, record, setting.truth.calls, attack)
    # Those that the server itself called so: neither good ones nor those that it waited for the rest of.
    record.facts |= {"fuzzed": 2 * setting.times(_FUZZED), "malformed": refused}


def described(setting: Setting, record: Record) -> None:
    """What the server's own description allows, and what it does not, as schemathesis makes it up."""
    singles = [call for call in setting.truth.calls if len(str(call.body.get("q", ""))) in range(1, _TEXT_LIMIT)]
    sent = []
    with setting.serve("--text-limit", _TEXT_LIMIT) as server:

        def attack(turn: int) -> None:
            with steady(server, record, singles, at_once=1):
                # The limits one by one are the same whatever the seed.
                phases = "fuzzing" if turn else "coverage,fuzzing"
                sent.append(_schemathesis(server, setting, record, phases, seed=turn))
            record.check("the server lives", server.process.poll() is None)

        repeat(server, record, singles, attack)
    record.facts["described"] = sum(sent)


async def _fuzz(url: str, amount: int, seed: int) -> Counter[int]:
    """Send so many messages of the fuzzer; the statuses of the answers, 0 for none."""
    waiting, statuses = islice(messages(seed), amount), Counter[int]()

    async def client() -> None:
        for message in waiting:
            statuses[(await send(url, message, _PATIENCE)).status] += 1

    await asyncio.gather(*(client() for _ in range(_AT_ONCE)))
    return statuses


def _schemathesis(server: Server, setting: Setting, record: Record, phases: str, seed: int) -> int:
    """Run schemathesis; how many requests it made."""
    command = [
        *(str(_SCHEMATHESIS), "run", f"{server.url}/openapi.json", "--checks", ",".join(_CHECKS)),
        *("--phases", phases, "--mode", "all", "--max-examples", str(setting.times(_EXAMPLES))),
        *("--seed", str(seed), "--generation-database", "none", "--suppress-health-check", "all", "--no-shrink"),
        *("--continue-on-failure", "--request-timeout", "60", "--no-color", "--warnings", "off"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=setting.work)
    (setting.work / f"schemathesis-{seed}.txt").write_text(done.stdout + done.stderr)
    found = re.search(r"(\d+) generated", done.stdout)
    record.check("schemathesis finds nothing", done.returncode == 0, done.stdout[-1000:] + done.stderr[-500:])
    return int(found[1]) if found else 0
