"""`fmalloc doctor`: what is wrong with an installation, and what to do about it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]
_STYLES: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Finding:
    """The result of one check. `fail`: the installation cannot serve. `advice` is empty if all is well."""

    check: str
    state: State
    found: str
    advice: str = ""


Check = Callable[[], Iterator[Finding]]


def examine(checks: Iterable[Check]) -> list[Finding]:
    """The findings of all checks; a check that raises is itself a finding and hides no other."""
    return [finding for check in checks for finding in _run(check)]


def serves(findings: Sequence[Finding]) -> bool:
    """Whether the installation can serve."""
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
    console.print("ready to serve" if serves(findings) else "this installation cannot serve: see fail above")


def readable(size: float) -> str:
    """A number of bytes in MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _run(check: Check) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:  # the user wants to know of whatever is broken here
        name = getattr(check, "__name__", "bundles")
        return [Finding(name, "fail", f"{type(error).__name__}: {error}", "please report this")]
