"""The image's own steps, taken without a Docker engine: its stages in folders, its server on a read-only root."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from triton_server import free_port

from tests.support.bundles import SENTENCES
from tests.support.deploy_files import ROOT, Instruction, dockerfile_stages

BUILD, FINAL = dockerfile_stages()
# The file system, read only, as the root of a mount namespace of its own. A Python ($4) in a folder that is closed to
# others ($3) is put in its place there.
_READ_ONLY = """
mount --rbind / "$1"
if [ -n "$3" ]; then
    mount -t tmpfs -o mode=755 tmpfs "$1$3" && mkdir -p "$1$4" && mount --bind "$4" "$1$4"
    mount -o remount,ro "$1$3"
fi
mount -o remount,bind,ro "$1"
exec /usr/sbin/chroot --userspec="$2" "$1" "${@:5}"
"""


def of(stage: list[Instruction], name: str) -> list[Instruction]:
    """The instructions of this name."""
    return [instruction for instruction in stage if instruction.name == name]


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """What the first stage builds: its absolute paths lie below this folder, which any user can read."""
    with tempfile.TemporaryDirectory(prefix="image") as folder:
        Path(folder).chmod(0o755)
        _build(Path(folder))
        yield Path(folder)


@pytest.fixture(scope="module")
def mounted(image: Path, bundles: Path) -> Path:
    """The bundles, where any user can read them."""
    return Path(shutil.copytree(bundles, image / "bundles"))


def _build(root: Path) -> None:
    folders = {"/source": root / "source", "/wheels": root / "wheels", "/opt/fmalloc": root / "opt" / "fmalloc"}
    pythons = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (root / "source").mkdir()
    (root / "opt").mkdir()
    for instruction in BUILD:
        match instruction.name:
            case "COPY":
                *names, destination = instruction.words
                for name in names:
                    _copy(ROOT / name, root / "source" / destination)
            case "RUN":
                command = instruction.rest
                for path, folder in folders.items():
                    command = command.replace(path, str(folder))
                subprocess.run(["sh", "-ec", command], cwd=root / "source", env=pythons, check=True)


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    else:
        shutil.copy(source, destination)


def environment(image: Path, port: int) -> dict[str, str]:
    """The image's variables, and no others."""
    (declared,) = of(FINAL, "ENV")
    found = {name: value.replace("/opt", str(image / "opt")) for name, value in declared.variables.items()}
    return found | {"PATH": found["PATH"].replace("$PATH", os.defpath), "FMALLOC_PORT": str(port)}


@contextmanager
def running(image: Path, bundles: Path, root: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The image's command; as the image's user on a read-only root where this process may arrange that."""
    port = free_port()
    (entrypoint,), (user,) = of(FINAL, "ENTRYPOINT"), of(FINAL, "USER")
    program, *verb = entrypoint.words
    command = [str(image / "opt" / "fmalloc" / "bin" / program), *verb, str(bundles)]
    if os.geteuid() == 0:
        command = [
            *("unshare", "--mount", "bash", "-ec", _READ_ONLY, "bash"),
            *(str(root), user.rest, _closed(Path(sys.base_prefix)), sys.base_prefix, *command),
        ]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env=environment(image, port), cwd="/", stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    httpx.get(f"{url}/livez")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield url, process
        finally:
            process.kill()


def _closed(path: Path) -> str:
    """The outermost folder on the way to `path` that others may not enter, or nothing."""
    return next((str(folder) for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH), "")


def test_the_image_serves_on_a_read_only_root_and_stops_at_once(image: Path, mounted: Path, tmp_path: Path) -> None:
    (stop,), (health,) = of(FINAL, "STOPSIGNAL"), of(FINAL, "HEALTHCHECK")
    root = tmp_path / "root"
    root.mkdir()
    with running(image, mounted, root) as (url, process):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        wanted = {"q": SENTENCES["it"], "source": "de", "target": "en"}
        answer = httpx.post(f"{url}/translate", json=wanted, timeout=30).json()
        assert answer["domain"]["name"] == "it"
        check = health.rest[health.rest.index("[") :]
        words = Instruction("CMD", check).words
        port = int(url.rpartition(":")[2])
        for found, status in ((port, 0), (free_port(), 1)):
            done = subprocess.run(words, env=environment(image, found), capture_output=True, check=False)
            assert done.returncode == status
        if os.geteuid() == 0:
            assert not os.access(f"/proc/{process.pid}/root/", os.W_OK)
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert f"Uid:\t{of(FINAL, 'USER')[0].rest.partition(':')[0]}\t" in status
        process.send_signal(signal.Signals[stop.rest])
        assert process.wait(timeout=10) == 0


def test_the_image_holds_the_runtime_alone(image: Path) -> None:
    python = image / "opt" / "fmalloc" / "bin" / "python"
    find = "import importlib.util as u; print([n for n in ('torch', 'transformers', 'pytest') if u.find_spec(n)])"
    done = subprocess.run([python, "-c", find], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
