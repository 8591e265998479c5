"""fmalloc doctor: what it finds on this machine, and on machines with something wrong."""

import json
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc import diagnosis
from fmalloc.model import devices
from fmalloc_runtime import machine
from fmalloc_runtime.bundle.bundle import EngineInfo
from fmalloc_runtime.commands import doctor
from fmalloc_runtime.diagnosis import engines, threads
from fmalloc_runtime.diagnosis import machine as machine_checks
from fmalloc_runtime.engines.base import version_tuple
from fmalloc_shared import processor
from fmalloc_shared.commands.findings import Finding
from tests.support import ROOT
from tests.support.bundles import bundle_of, make_live, write_bundle


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices: how fast they are is not tested."""
    monkeypatch.setattr(devices, "_SIDE", 16)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(doctor, [str(argument) for argument in arguments], env={"COLUMNS": "400"})


def findings(bundles: Path) -> dict[str, Finding]:
    """By name of the check, as --json prints them."""
    return {item["check"]: Finding(**item) for item in json.loads(run(bundles, "--json").stdout)["findings"]}


def test_a_sound_installation(bundles: Path) -> None:
    result = run(bundles, "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["ok"] is True
    found = findings(bundles)
    for check in ("Python", "settings", "CPU", "CPUs", "open files", "CTranslate2", "ONNX Runtime", "memory", "disk"):
        assert found[check].state != "fail", found[check]
    for domain in ("general", "it", "kitchen"):
        assert found[f"bundle {domain}"] == Finding(
            f"bundle {domain}",
            "ok",
            f"{bundle_of(bundles, domain).name}, ctranslate2 float32, every file is whole",
        )
    assert all(finding.advice for finding in found.values() if finding.state != "ok")


def test_the_table_says_what_to_do(own_bundles: Path, tmp_path: Path) -> None:
    result = run(own_bundles)
    assert result.exit_code == 0 and "ready to serve" in result.stdout and "ready to learn" in result.stdout
    result = run(tmp_path / "nowhere")
    assert result.exit_code == 1 and "live.json: cannot be read" in result.stdout.replace("\n", "")
    assert "name the directory" in result.stdout
    assert "cannot serve: see fail above" in result.stdout and "ready to learn" in result.stdout


def test_bundles_that_cannot_serve(own_bundles: Path) -> None:
    model = bundle_of(own_bundles, "it") / "model" / "model.bin"
    model.write_bytes(model.read_bytes()[:-1])
    newer = EngineInfo(name="ctranslate2", minimum_version="99.0", quantization="float32")
    half = EngineInfo(name="ctranslate2", minimum_version="4.0", quantization="float16")
    kitchen = write_bundle(own_bundles, "kitchen", golden=(), engine=newer)
    general = write_bundle(own_bundles, "general", golden=(), engine=half)
    make_live(own_bundles, kitchen, general, bundle_of(own_bundles, "it"))
    assert run(own_bundles).exit_code == 1
    found = findings(own_bundles)
    assert found["bundle it"].state == "fail" and "model.bin: sha256 is" in found["bundle it"].found
    assert found["bundle kitchen"].state == "fail" and found["bundle kitchen"].advice.endswith("'ctranslate2>=99.0'")
    if not machine.cuda_devices():
        assert found["bundle general"].state == "warn" and "float16 weights" in found["bundle general"].found


def test_no_live_domain(own_bundles: Path) -> None:
    make_live(own_bundles)
    assert findings(own_bundles)["bundles"] == Finding(
        "bundles", "fail", f"{own_bundles / 'live.json'}: no domain is live", "run fmalloc export"
    )


def test_wrong_variables(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMALLOC_PROT", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "9999")
    found = findings(bundles)
    assert found["settings"].state == "fail" and "did you mean port?" in found["settings"].found
    assert found["threads"].state == "warn"


def test_both_packages_of_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clash as pip sees it; the second package is a quarter of a gigabyte, so its record alone is there."""
    monkeypatch.setattr(engines, "version", lambda name: {"onnxruntime": "1.31", "onnxruntime-gpu": "1.31"}[name])
    (finding,) = engines.onnxruntime()
    assert finding.state == "fail" and finding.advice.startswith("pip uninstall onnxruntime onnxruntime-gpu")


def test_mkl_on_amd_and_old_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPU_INFO", info)
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("CT2_USE_MKL", "1")
    info.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sse2\n\nprocessor\t: 1\nflags\t: fpu\n")
    found = [(finding.check, finding.state) for finding in machine_checks.cpu()]
    assert found == [("CPU", "warn"), ("int8", "warn"), ("MKL", "warn")]
    info.write_text("vendor_id\t: GenuineIntel\nflags\t: avx2 avx512f avx512_vnni fma\n")
    assert [(finding.check, finding.state) for finding in machine_checks.cpu()] == [("CPU", "ok")]
    info.write_text("vendor_id\t: GenuineIntel\nflags\t: avx2 fma\n")
    _, int8 = machine_checks.cpu()
    assert (int8.check, int8.state) == ("int8", "warn") and "--compute-type float32" in int8.advice
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    info.write_text("Features\t: fp asimd\n")
    assert [finding.state for finding in machine_checks.cpu()] == ["ok"]
    info.unlink()
    assert [finding.state for finding in machine_checks.cpu()] == ["ok"]


def test_limits_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "kubepods" / "pod"
    group.mkdir(parents=True)
    (tmp_path / "membership").write_text("0::/kubepods/pod\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "membership")
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.max").write_text("max\n")
    unlimited, installed = machine.cpus(), machine.memory()
    assert unlimited >= 1 and installed and installed > 100_000_000
    (tmp_path / "kubepods" / "cpu.max").write_text("50000 100000\n")
    (group / "memory.max").write_text("1000000\n")
    assert machine.cpus() == 0.5 and machine.memory() == 1_000_000
    assert next(machine_checks.cpus()).state == "warn"
    (finding,) = machine_checks.memory(2_000_000)
    assert finding.state == "warn" and "--memory" in finding.advice
    (finding,) = machine_checks.memory(900_000)
    assert finding.state == "ok"


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "open_files", lambda: (256, 1024))
    (finding,) = machine_checks.open_files()
    assert finding.state == "warn" and "--connections lower than 1024" in finding.advice


def test_a_check_that_fails_hides_no_other(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> float:
        raise ZeroDivisionError("no clock")

    monkeypatch.setattr(machine, "cpus", broken)
    found = findings(bundles)
    assert found["cpus"].state == "fail" and "ZeroDivisionError: no clock" in found["cpus"].found
    assert found["extras"].state == "ok"
    assert found["bundle it"].state == "ok"


def test_versions_compare_by_number() -> None:
    assert version_tuple("4.10.1") > version_tuple("4.9") and version_tuple("1.24.0rc1") >= version_tuple("1.24")


def test_compute_types_of_a_missing_gpu_are_none_however_often_one_asks() -> None:
    found = [engines.compute_types("cuda") for _ in range(2)]
    assert found[0] == found[1] and bool(found[0]) == bool(machine.cuda_devices())
    assert "float32" in engines.compute_types("cpu")


def test_what_learning_needs_is_looked_at_too(bundles: Path) -> None:
    found = findings(bundles)
    learning = [finding for finding in found.values() if finding.purpose == "learn"]
    names = ["fmalloc", "torch", "transformers", "sacrebleu", "device", "memory to learn", "disk to learn", "extras"]
    assert [finding.check for finding in learning if finding.check != "threads to learn"] == names
    assert all(finding.state != "fail" for finding in learning)
    assert "times as fast" in found["device"].found
    assert found["torch"].found == version("torch")


def test_a_library_that_is_too_old_keeps_from_learning_alone(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(diagnosis.LIBRARIES, "transformers", "99.0")
    result = run(bundles, "--json")
    verdicts = json.loads(result.stdout)
    assert (result.exit_code, verdicts["ok"], verdicts["serve"], verdicts["learn"]) == (1, False, True, False)
    assert findings(bundles)["transformers"].advice == "pip install 'transformers>=99.0'"
    assert "this installation cannot learn: see fail above" in run(bundles).stdout


def test_without_pytorch_nothing_is_wrong(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(bundles).exit_code == 0
    assert findings(bundles)["learning"].found.endswith("pip install 'fmalloc[export]'")


def test_extras_that_are_missing_are_named_with_what_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    (finding,) = diagnosis.extras()
    assert "sacremoses (FSMT bases): pip install 'fmalloc[moses]'" in finding.found
    assert "tensorboard" in finding.found.partition(";")[0]


def test_another_fmalloc_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "version", lambda _name: "0.0.1")
    (finding,) = diagnosis.source()
    assert finding.state == "warn" and "0.0.1 is installed" in finding.found


def test_too_little_memory_to_learn() -> None:
    for memory, state in ((None, "ok"), (10**9, "warn"), (10**10, "ok")):
        (finding,) = diagnosis.enough_memory(lambda memory=memory: memory)
        assert finding.state == state


def test_the_least_versions_and_extras_are_those_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    assert [f"{name}>={least}" for name, least in sorted(diagnosis.LIBRARIES.items())] == sorted(optional["train"])
    for name, (extra, _) in diagnosis.EXTRAS.items():
        assert any(needed.startswith(f"{name}>=") for needed in optional[extra]), name


@pytest.mark.parametrize(
    ("gain", "configured", "state", "says"),
    [
        (0.5, 1, "ok", "on 1 thread"),
        (0.5, 4, "warn", "it is set to 4"),
        (1.05, 4, "ok", "on 1 thread"),
        (1.6, 1, "ok", "FMALLOC_THREADS=4 FMALLOC_WORKERS=1"),
    ],
)
def test_what_is_said_of_threads(gain: float, configured: int, state: str, says: str) -> None:
    finding = threads._verdict("it: a sentence takes 5 ms on 1 thread", gain, 4, configured)
    assert finding.state == state and says in finding.found and bool(finding.advice) == (state == "warn")


def test_threads_are_measured_on_a_live_bundle(own_bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpus", lambda: 2.0)
    monkeypatch.setattr(machine, "cuda_devices", lambda: 0)
    found = findings(own_bundles)["threads"]
    assert re.search(r"@\w{12}: a sentence takes \d+\.\d ms on 1 thread, \d+\.\d ms on 2", found.found)
    monkeypatch.setattr(machine, "cpus", lambda: 1.5)
    assert "threads" not in findings(own_bundles)
    monkeypatch.setattr(machine, "cpus", lambda: 2.0)
    for path in own_bundles.glob("*@*/model/model.bin"):
        path.write_bytes(b"broken")
    assert "threads" not in findings(own_bundles)
