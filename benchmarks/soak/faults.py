"""Phases in which the machine fails the server: it is killed, and its disk is full."""

import json
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving.load import closed_loop
from benchmarks.serving.process import Server, launch, make_live
from benchmarks.soak.background import steady
from benchmarks.soak.phase import Record, Setting
from fmalloc_shared.files import sha256_files

_KILLS = 12
_FULL = Path("/dev/full")
_DISK_BYTES = 64 * 1024
_FLUSHES_AFTER = 11.0  # usage is written every ten seconds


def killed(setting: Setting, record: Record) -> None:
    """Kill the server with -9 while it starts, while it works and while it takes bundles over; start it again."""
    draw = random.Random(9)
    decisions = setting.work / "decisions.jsonl"
    usage = setting.work / "usage.json"
    for path in (decisions, usage):
        path.unlink(missing_ok=True)
    flags = ("--decisions", decisions, "--usage", usage, "--poll-seconds", 0.05)
    before = sha256_files(setting.bundles)
    with setting.serve(*flags) as server:
        starting = server.started_in
    for _ in range(setting.times(_KILLS)):
        process = launch(setting.bundles, setting.log, *flags)
        time.sleep(draw.uniform(0, 1.2 * starting))
        process.kill()
        process.wait()
    for turn in range(setting.times(_KILLS // 2)):
        with setting.serve(*flags) as server:
            with steady(server, record, setting.truth.calls, at_once=4, allowed=(0,)):
                if turn % 2:
                    make_live(setting.bundles, setting.there)
                time.sleep(draw.uniform(0.1, 1.0))
                server.process.kill()
            make_live(setting.bundles, setting.here)
    record.facts["kills"] = setting.times(_KILLS) + setting.times(_KILLS // 2)
    record.check("bundles have the same bytes", sha256_files(setting.bundles) == before)
    record.check("every line of the decision log is whole", all(map(_is_decision, _lines(decisions))))
    with setting.serve(*flags) as server:
        record.judge(closed_loop(server.url, setting.truth.calls, 2))
        record.look_back(server)
        record.check("it ends well", server.stop() == 0)
    record.check("usage is kept", json.loads(usage.read_text())["characters"]["anonymous"] > 0)


def full_disk(setting: Setting, record: Record) -> None:
    """Answer while nothing can be written: decisions, usage, logs."""
    if _FULL.exists():
        _device_full(setting, record)
    with _small_disk(setting.work / "disk") as disk:
        record.facts["small_disk"] = disk is not None
        if disk is not None:
            _disk_full(setting, record, disk)
    _files_limited(setting, record)


def _device_full(setting: Setting, record: Record) -> None:
    with setting.serve("--decisions", _FULL) as server:
        record.judge(closed_loop(server.url, setting.truth.calls, 4))
        record.look_back(server)
        record.check("it ends well", server.stop() == 0)


def _disk_full(setting: Setting, record: Record, disk: Path) -> None:
    decisions, filler = disk / "decisions.jsonl", disk / "filler"
    with setting.serve("--decisions", decisions, "--usage", disk / "usage.json") as server:
        record.judge(closed_loop(server.url, setting.truth.calls[:4], 1))
        _fill(filler)
        with steady(server, record, setting.truth.calls):
            time.sleep(_FLUSHES_AFTER)
        lines = len(_lines(decisions))
        filler.unlink()
        record.judge(closed_loop(server.url, setting.truth.calls[:4], 1))
        record.check("decisions are logged again once there is room", len(_lines(decisions)) == lines + 4)
        record.check("every line of the decision log is whole", all(map(_is_decision, _lines(decisions))))
        _fill(filler)
        record.look_back(server)
        record.check("it ends well", server.stop() == 0)


def _files_limited(setting: Setting, record: Record) -> None:
    decisions, usage = setting.work / "limited.jsonl", setting.work / "limited.json"
    for path in (decisions, usage):
        path.unlink(missing_ok=True)
    with setting.serve("--decisions", decisions, "--usage", usage) as server:
        record.judge(closed_loop(server.url, setting.truth.calls[:4], 1))
        _limit_files(server, decisions.stat().st_size + 100)
        with steady(server, record, setting.truth.calls):
            time.sleep(2.0)
        record.check("every line of the decision log is whole", all(map(_is_decision, _lines(decisions))))
        record.look_back(server)
        record.check("it ends well", server.stop() == 0)


def _limit_files(server: Server, size: int) -> None:
    """Let no file of the server grow beyond `size` bytes, its log among them: writing fails as on a full disk."""
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, size))


@contextmanager
def _small_disk(path: Path) -> Iterator[Path | None]:
    """A file system of a few KB, or None where this user may not make one."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=False)


def _fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _is_decision(line: str) -> bool:
    try:
        return bool(json.loads(line)["domain"])
    except (ValueError, TypeError, KeyError):
        return False
