"""docs/serving.md names only what there is: flags, metrics and paths."""

import re

import yaml

from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.settings import Settings
from tests.support import ROOT
from tests.support.verbs import COMMANDS

GUIDE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def test_flags() -> None:
    options = [option for command in COMMANDS.values() for option in command.params]
    known = {"--help"}.union(*((*option.opts, *option.secondary_opts) for option in options))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", GUIDE))
    assert len(named) > 15 and named <= known, named - known


def test_metrics() -> None:
    known = {sample.name for metric in Metrics().registry.collect() for sample in metric.samples}
    known |= {metric.name for metric in Metrics().registry.collect()}
    known |= {f"{name}_total" for name in known}
    named = set(re.findall(r"\bfmalloc_[a-z_]+", GUIDE)) - {"fmalloc_runtime"}
    assert len(named) > 8 and named <= known, named - known


def test_settings() -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    named = yaml.safe_load(example).keys()
    assert len(named) > 5 and named <= Settings.model_fields.keys(), named - Settings.model_fields.keys()
