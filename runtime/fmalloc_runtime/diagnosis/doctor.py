"""`fmalloc doctor`: what is wrong with an installation, and what to do about it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from fmalloc_shared.commands.findings import Check, Finding, Purpose, State

_STYLES: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_PURPOSES: tuple[Purpose, ...] = ("serve", "learn")


def examine(checks: Iterable[Check], purpose: Purpose = "serve") -> list[Finding]:
    """The findings of all checks of a purpose; a check that raises is itself a finding and hides no other."""
    return [finding for check in checks for finding in _run(check, purpose)]


def fit(findings: Sequence[Finding], *purposes: Purpose) -> bool:
    """Whether nothing keeps the installation from serving, from learning, or from both."""
    return all(finding.state != "fail" for finding in findings if finding.purpose in purposes)


def to_json(findings: Sequence[Finding]) -> str:
    """For programs: `ok`, `serve`, `learn` and `findings`, each with check, state, found, advice and purpose."""
    verdicts = {"ok": fit(findings, "serve", "learn"), "serve": fit(findings, "serve"), "learn": fit(findings, "learn")}
    return json.dumps({**verdicts, "findings": [asdict(finding) for finding in findings]}, indent=2)


def show(findings: Sequence[Finding]) -> None:
    """For people: a table on standard output."""
    from rich.table import Table
    from rich.text import Text

    from fmalloc_shared.commands.terminal import Terminal

    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        state = Text(finding.state, style=_STYLES[finding.state])
        table.add_row(state, finding.check, Text(finding.found), Text(finding.advice))
    console = Terminal(markup=False)
    console.print(table)
    for purpose in _PURPOSES:
        ready = fit(findings, purpose)
        console.print(f"ready to {purpose}" if ready else f"this installation cannot {purpose}: see fail above")


def _run(check: Check, purpose: Purpose) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:  # the user wants to know of whatever is broken here
        name = getattr(getattr(check, "func", check), "__name__", "check")  # a partial has none
        return [Finding(name, "fail", f"{type(error).__name__}: {error}", "please report this", purpose)]
