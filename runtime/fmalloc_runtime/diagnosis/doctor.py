"""`fmalloc doctor`: what is wrong with an installation, and what to do about it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from fmalloc_runtime.diagnosis import bundles as bundle_checks
from fmalloc_runtime.diagnosis import engines, machine
from fmalloc_runtime.diagnosis.finding import Check, Finding

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def examine(bundles: Path) -> list[Finding]:
    """Look at everything; a check that fails itself is a finding and hides no other."""
    checks: list[Check] = [*machine.checks(), *engines.checks(), partial(bundle_checks.examine, bundles)]
    return [finding for check in checks for finding in _looked(check)]


def serves(findings: Sequence[Finding]) -> bool:
    """Whether nothing was found that keeps the installation from serving."""
    return all(finding.state != "fail" for finding in findings)


def to_json(findings: Sequence[Finding]) -> str:
    """For programs: `ok` and `findings`, each with check, state, found and advice."""
    return json.dumps({"ok": serves(findings), "findings": [asdict(finding) for finding in findings]}, indent=2)


def show(findings: Sequence[Finding]) -> None:
    """For people: a table on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        state = Text(finding.state, style=_STYLES[finding.state])
        table.add_row(state, finding.check, Text(finding.found), Text(finding.advice))
    console = Console()
    console.print(table)
    console.print("ready to serve" if serves(findings) else "this keeps it from serving: see fail above")


def _looked(check: Check) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:  # whatever is broken here is what the user wants to know of
        name = getattr(check, "__name__", "bundles")
        return [Finding(name, "fail", f"{type(error).__name__}: {error}", "report this, please")]
