"""The files of deploy/, read as the programs that use them read them."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
KUBERNETES = ROOT / "deploy" / "kubernetes"


@dataclass(frozen=True)
class Instruction:
    """One of a Dockerfile: its keyword and the rest, lines joined."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The rest in the exec form (a JSON list), or as words."""
        return json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)

    @property
    def variables(self) -> Mapping[str, str]:
        """Of an ENV: values by name."""
        return dict(word.split("=", 1) for word in self.words)


def dockerfile_stages() -> list[list[Instruction]]:
    """The instructions of each stage, its FROM first; what stands before them is left out."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    instructions = [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]
    stages: list[list[Instruction]] = []
    for instruction in instructions:
        if instruction.name == "FROM":
            stages.append([])
        if stages:
            stages[-1].append(instruction)
    return stages


def manifests() -> dict[str, dict[str, Any]]:
    """What kustomization.yaml lists, by kind."""
    kustomization = read_yaml(KUBERNETES / "kustomization.yaml")
    found = [read_yaml(KUBERNETES / name) for name in kustomization["resources"]]
    return {manifest["kind"]: manifest for manifest in found}


def read_yaml(path: Path) -> dict[str, Any]:
    """A file that holds one YAML document."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))
