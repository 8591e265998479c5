"""fmalloc bundles, and the command group that it belongs to."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
from click.testing import CliRunner, Result

from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_shared.commands.verbs import main
from fmalloc_shared.files import sha256_files
from tests.support.bundles import make_live
from tests.support.killing import environment, run_and_kill
from tests.support.packing import write_family


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("made") / "bundles"
    write_family(path)
    return path


@pytest.fixture
def bundles(made: Path, tmp_path: Path) -> Path:
    """Plain bundles of general, it and kitchen, all live."""
    shutil.copytree(made, tmp_path / "bundles")
    return tmp_path / "bundles"


def run(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["bundles", *map(str, arguments)], input=answer)


def listed(directory: Path, *arguments: object) -> dict:
    result = run(directory, *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict = json.loads(result.stdout)
    return found


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    return result.output


def test_sizes_are_those_on_disk(bundles: Path) -> None:
    found = listed(bundles)
    assert [entry["domain"] for entry in found["bundles"]] == ["general", "it", "kitchen"]
    for entry in found["bundles"]:
        files = [path for path in (bundles / entry["name"]).rglob("*") if path.is_file()]
        assert entry["plain"] == entry["own"] + entry["shared"] == sum(path.stat().st_size for path in files)
        assert (entry["live"], entry["packed"], entry["level"]) == (True, False, "O0")
    packed = listed(bundles, "--pack")
    assert packed["plain"] == found["plain"]
    assert all(entry["packed"] for entry in packed["bundles"])
    places = {path.stat().st_ino: path.stat().st_size for path in bundles.rglob("*") if path.is_file()}
    top = sum((bundles / name).stat().st_size for name in (".lock", "live.json"))
    assert packed["disk"] == sum(places.values()) - top
    assert packed["disk"] == packed["ratio"] * packed["plain"] / 3 or packed["ratio"] < 2
    own = sum(entry["own"] for entry in packed["bundles"])
    assert own < packed["disk"] < found["disk"]
    assert listed(bundles, "--unpack")["unused"] == [path.name for path in (bundles / "shared").iterdir()]


def test_the_table_fits_and_tells_the_ratio(bundles: Path) -> None:
    output = run(bundles, "--pack").output
    assert "3 bundles" in output and "plain bundles" in output
    row = next(line for line in output.splitlines() if line.startswith("kitchen@"))
    assert row.split()[1:5] == ["yes", "ctranslate2", "float32", "O0"]
    assert max(len(line) for line in output.splitlines()) <= 100


def test_domains_and_bundles_are_packed_by_name(bundles: Path) -> None:
    live = LiveIndex.of(bundles).domains
    assert run(bundles, "it", live["general"], "--pack").exit_code == 0
    assert {name: bool(Bundle.open(bundles / name).packed) for name in live.values()} == {
        live["general"]: True,
        live["it"]: True,
        live["kitchen"]: False,
    }
    assert run(bundles, "it", "--unpack").exit_code == 0
    assert not Bundle.open(bundles / live["it"]).packed
    assert Bundle.open(bundles / live["general"]).packed


def test_pruning_asks_and_deletes_only_what_nothing_needs(bundles: Path) -> None:
    live = LiveIndex.of(bundles).domains
    assert run(bundles, "--pack").exit_code == 0
    make_live(bundles, bundles / live["it"])
    before = sha256_files(bundles)
    result = run(bundles, "--prune", answer="n\n")
    assert result.exit_code == 1
    assert f"{live['kitchen']}: not live" in result.output
    assert sha256_files(bundles) == before
    assert run(bundles, "--prune", answer="y\n").exit_code == 0
    assert [path.name for path in bundles.glob("*@*")] == [live["it"]]
    assert Bundle.open(bundles / live["it"]).packed
    assert run(bundles, "--unpack").exit_code == 0
    assert "deleted 0 bundles and 1 shared files" in run(bundles, "--prune", "--yes").output
    assert list((bundles / "shared").iterdir()) == []
    Bundle.open(bundles / live["it"])


def test_wrong_arguments_say_what_would_be_right(bundles: Path, tmp_path: Path) -> None:
    assert "no bundle or domain 'itt'; it holds general@" in refused(bundles, "itt", "--pack")
    assert "no such directory" in refused(tmp_path / "nowhere", "--pack")
    assert not (tmp_path / "nowhere").exists()
    assert "names go with --pack or --unpack" in refused(bundles, "it")
    assert "--prune takes no names" in refused(bundles, "it", "--prune")
    (bundles / "live.json").unlink()
    assert "no domain is live" in refused(bundles, "--prune", "--yes")
    with filelock.FileLock(bundles / ".lock"):
        assert "another process is writing bundles there" in refused(bundles, "--pack")


def test_a_damaged_bundle_is_not_packed(bundles: Path) -> None:
    (model,) = bundles.glob("it@*/model/model.bin")
    model.write_bytes(model.read_bytes()[:-1])
    before = sha256_files(bundles)
    assert "model.bin: sha256 is" in refused(bundles, "--pack")
    (bundles / ".lock").unlink()
    assert sha256_files(bundles) == before


@pytest.mark.slow
def test_kill_at_any_moment_leaves_bundles_that_open(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    paths = write_family(bundles, tuple(f"domain{index}" for index in range(8)))

    def states() -> set[bool]:
        return {bool(Bundle.open(path).packed) for path in paths}

    for action, checkpoint, wanted in (
        ("--pack", bundles / "shared", True),
        ("--unpack", paths[0] / "model" / "model.bin", False),
    ):
        command = [sys.executable, "-m", "fmalloc", "bundles", str(bundles), action]
        run_and_kill(command, 12, seed=3, checkpoint=checkpoint, after=lambda wanted=wanted: states() == {wanted})
        assert states() == {wanted}


PROGRAM = """
import sys
sys.modules.update(dict.fromkeys(("torch", "transformers", "sacrebleu", "onnx")))
from fmalloc_shared.commands.verbs import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"numpy", "rich", "ctranslate2", "pydantic"} & {name for name in sys.modules}
    print("loaded", *sorted(heavy), file=sys.stderr)
"""


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def test_help_loads_nothing_heavy_and_no_command_needs_torch(bundles: Path, tmp_path: Path) -> None:
    help_ = without_torch("--help")
    assert help_.returncode == 0, help_.stderr
    assert help_.stderr.splitlines()[-1] == "loaded"
    assert all(f"\n  {name}" in help_.stdout for name in ("bundles", "status", "verify"))
    for arguments in (("bundles", bundles, "--pack"), ("verify", bundles), ("bundles", bundles, "--unpack")):
        done = without_torch(*arguments)
        assert done.returncode == 0, done.stderr
    asked = without_torch("verify", bundles, "--store", tmp_path)
    assert asked.returncode == 2
    assert "torch is not installed: pip install 'fmalloc[export]'" in asked.stderr
    unknown = without_torch("unknown")
    assert unknown.returncode == 2 and "No such command 'unknown'" in unknown.stderr
