"""Ray Serve on this machine, started as an operator does: `serve run` with the config of deploy/."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from triton_server import free_port

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "ray" / "serve.yaml"
_STARTING_SECONDS = 120.0
# When a replica took bundles over for the first time: that tells replicas apart.
_LOADED = re.compile(r'^fmalloc_reloads_created\{result="ok"\} (\S+)$', re.MULTILINE)
# Of so many answers, all come from the same one of two replicas once in 2**39 times.
SEVERAL = 40
_REPLICA = "ray::ServeReplica:fmalloc:Replica"


@dataclass(frozen=True)
class Cluster:
    """A cluster of one node that serves at `url`."""

    url: str
    process: psutil.Process

    def replicas(self) -> list[psutil.Process]:
        """The processes that translate."""
        found = []
        for child in self.process.children(recursive=True):
            try:
                if _REPLICA in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def serving(self) -> int:
        """How many replicas answer."""
        pages = (httpx.get(f"{self.url}/metrics").text for _ in range(SEVERAL))
        return len({found for page in pages for found in _LOADED.findall(page)})


@contextmanager
def ray_cluster(bundles: Path, work: Path) -> Iterator[Cluster]:
    """Serve `bundles` with the replicas of deploy/ray/serve.yaml; fails with the log unless all of them come up."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_bytes())
    config["http_options"] |= {"host": "127.0.0.1", "port": free_port()}
    (application,) = config["applications"]
    application["args"]["bundles"] = str(bundles)
    (work / "serve.yaml").write_text(yaml.safe_dump(config))
    log = work / "serve.log"
    # Names of sockets must be short, so this is no folder of pytest's.
    ray_folder = tempfile.mkdtemp(prefix="ray")
    environment = {
        **os.environ,
        "HOME": str(work),
        "RAY_TMPDIR": ray_folder,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    command = [str(Path(sys.executable).parent / "serve"), "run", str(work / "serve.yaml")]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    cluster = Cluster(f"http://127.0.0.1:{config['http_options']['port']}", psutil.Process(process.pid))
    try:
        _wait(cluster, application["deployments"][0]["num_replicas"], process, log)
        yield cluster
    finally:
        left = cluster.process.children(recursive=True)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
        for child in psutil.wait_procs(left, timeout=10)[1]:
            child.kill()
        shutil.rmtree(ray_folder, ignore_errors=True)


def _wait(cluster: Cluster, replicas: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{cluster.url}/readyz").status_code == 200 and cluster.serving() == replicas:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"Ray Serve is not ready:\n{log.read_text(errors='replace')[-6000:]}")
