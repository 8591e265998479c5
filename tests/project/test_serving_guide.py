"""docs/serving.md names only what there is: flags, metrics and paths."""

import re

import pytest
from click import Command, Group

from fmalloc_export.commands import bundles as bundles_command
from fmalloc_export.commands import costs
from fmalloc_runtime import commands
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.server.command import serve
from fmalloc_runtime.settings import Settings
from tests.support import ROOT

GUIDE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
ELSEWHERE = {"--task", "--store", "--output-dir", "--help"}


def flags(command: Command) -> set[str]:
    found = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return found.union(*map(flags, command.commands.values())) if isinstance(command, Group) else found


def test_flags() -> None:
    known = ELSEWHERE.union(
        *map(flags, (serve, commands.keys, commands.doctor, commands.replay, costs, bundles_command))
    )
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", GUIDE))
    assert len(named) > 15 and named <= known, named - known


def test_metrics() -> None:
    known = {sample.name for metric in Metrics().registry.collect() for sample in metric.samples}
    known |= {metric.name for metric in Metrics().registry.collect()}
    known |= {f"{name}_total" for name in known}
    named = set(re.findall(r"\bfmalloc_[a-z_]+", GUIDE)) - {"fmalloc_runtime"}
    assert len(named) > 8 and named <= known, named - known


@pytest.mark.parametrize("line", re.findall(r"^    (\w+): \S+$", GUIDE, re.MULTILINE))
def test_settings(line: str) -> None:
    assert line in Settings.model_fields
