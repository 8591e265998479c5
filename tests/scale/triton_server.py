"""The real Triton server, from the wheel nvidia-pytriton, run as a process."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytriton

_WHEEL = Path(pytriton.__file__).parent
_STUB = "triton_python_backend_stub"
_STARTING_SECONDS = 60.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def triton(repository: Path, work: Path, options: Sequence[str] = ()) -> Iterator[str]:
    """Serve a model repository; the server's URL. Fails with its log unless every model is ready."""
    port, log = free_port(), work / "triton.log"
    command = [
        str(_WHEEL / "tritonserver" / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={_write_backends(work / 'backends')}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--exit-timeout-secs=5",
        *options,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=_environment(), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/v2/health/ready", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"Triton did not stop:\n{log.read_text(errors='replace')[-6000:]}") from None


def _write_backends(folder: Path) -> Path:
    """The Python backend with the stub for the Python that runs here."""
    python = folder / "python"
    shutil.copytree(_WHEEL / "tritonserver" / "backends" / "python", python)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(_WHEEL / "tritonserver" / "python_backend_stubs" / version / _STUB, python)
    (python / _STUB).chmod(0o755)
    return folder


def _environment() -> dict[str, str]:
    """The stub finds this environment's packages by the `python3` that is first in PATH."""
    libraries = [str(sysconfig.get_config_var("LIBDIR")), str(_WHEEL.parent / "nvidia_pytriton.libs")]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "OMP_NUM_THREADS": "1",
    }


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"Triton is not ready:\n{log.read_text(errors='replace')[-6000:]}")
