"""The real LibreTranslate, in an environment of its own, with an Argos package of a model that CTranslate2 converted.

`python -m venv DIR; DIR/bin/pip install libretranslate spacy` makes such an environment, without PyTorch. By default
LibreTranslate downloads the models of its sentence splitter before it translates; its other splitter, spaCy's, can lie
in a package, and that is what makes it run without a network.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

_SPLITTER = "import spacy, sys; spacy.blank(sys.argv[1]).to_disk(sys.argv[2])"


@dataclass(frozen=True)
class LibreTranslate:
    """`python`: of its environment. `copy`: the converted model; `base`: where it came from. `work`: for packages."""

    python: Path
    copy: Path
    base: Path
    languages: LanguagePair
    work: Path

    def command(self, port: int) -> Sequence[str]:
        """What starts it, with the threads and limits that it has by default; its packages are made once."""
        there = (self.languages.source, self.languages.target)
        # Both ways: with fewer than two packages it asks the network for more, hundreds of times, before it listens.
        for source, target in (there, there[::-1]):
            if not (self._package(source, target) / "metadata.json").exists():
                self._make(source, target)
        return [str(self.python.parent / "libretranslate"), "--port", str(port), "--disable-web-ui"]

    @property
    def environment(self) -> dict[str, str]:
        """All its folders below `work`, and spaCy's splitter."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        folders = {f"XDG_{name}_HOME": str(self.work / name.lower()) for name in ("DATA", "CACHE", "CONFIG")}
        return kept | folders | {"ARGOS_PACKAGES_DIR": str(self._packages), "ARGOS_CHUNK_TYPE": "SPACY"}

    @property
    def _packages(self) -> Path:
        return self.work / "packages"

    def _package(self, source: str, target: str) -> Path:
        return self._packages / f"translate-{source}_{target}-1_0"

    def _make(self, source: str, target: str) -> None:
        """A package, its metadata last; the model of the second direction is the first one's, and is never asked."""
        vocabularies = {(self.base / name).read_bytes() for name in ("source.spm", "target.spm")}
        if len(vocabularies) > 1:
            raise FmallocError(f"{self.base}: an Argos package has one SentencePiece model, this base has two")
        package = self._package(source, target)
        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(self.copy, package / "model")
        config = package / "model" / "config.json"
        # Argos does not end its sources, so that the engine has to.
        said: dict[str, Any] = json.loads(config.read_text()) | {"add_source_eos": True}
        config.write_text(json.dumps(said))
        (package / "sentencepiece.model").write_bytes(vocabularies.pop())
        subprocess.run([str(self.python), "-c", _SPLITTER, source, str(package / "spacy")], check=True)
        named = {"from_code": source, "from_name": source, "to_code": target, "to_name": target}
        (package / "metadata.json").write_text(json.dumps({"package_version": "1.0", "argos_version": "1.9", **named}))
