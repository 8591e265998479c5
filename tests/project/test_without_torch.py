"""The runtime in a process where learning libraries cannot be imported."""

import os
import subprocess
import sys
from pathlib import Path

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.live.translator import Translator
from tests.support import ROOT
from tests.support.bundles import CPU, SENTENCES, bundle_of

PROGRAM = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "fmalloc", "fmalloc_export", "sacrebleu"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import fmalloc_runtime
from pathlib import Path

for module in pkgutil.walk_packages(fmalloc_runtime.__path__, "fmalloc_runtime."):
    if module.name != "fmalloc_runtime.server.ray":  # it is what Ray Serve imports, and Ray is an extra
        importlib.import_module(module.name)
    print("seen", module.name)
assert "ctranslate2" not in sys.modules, "the engine is imported before it is needed"

from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import EngineSettings

snapshot = Registry(Path(sys.argv[1]), EngineSettings(device="cpu", intra_threads=1)).load()
(translation,), route = snapshot.translate([sys.argv[2]])
print(route.domain, translation.text)
for name in ("torch", "transformers"):
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} was not blocked: this test proves nothing")
"""


def test_every_module_imports_and_translates_without_torch(bundles: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "runtime")}
    command = [sys.executable, "-c", PROGRAM, str(bundles), SENTENCES["it"][0]]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = Translator.load(Bundle.open(bundle_of(bundles, "it")), CPU).translate([SENTENCES["it"][0]])[0].text
    assert done.stdout.splitlines()[-1] == f"it {expected}"
    source = ROOT / "runtime"
    files = (path.relative_to(source).with_suffix("") for path in (source / "fmalloc_runtime").rglob("*.py"))
    modules = {".".join(path.parts).removesuffix(".__init__") for path in files} - {"fmalloc_runtime"}
    assert modules == {line.removeprefix("seen ") for line in done.stdout.splitlines()[:-1]}
