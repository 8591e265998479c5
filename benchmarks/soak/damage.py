"""The phase in which bundles and live.json are damaged: what was served before goes on."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.serving.load import Call, closed_loop
from benchmarks.serving.process import Server, make_live
from benchmarks.soak.background import repeat, steady, until
from benchmarks.soak.phase import Record, Setting
from fmalloc_runtime.bundle.bundle import (
    LIVE_FILE,
    MANIFEST_FILE,
    MODEL_DIRECTORY,
    TOKENIZER_DIRECTORY,
    Bundle,
    LiveIndex,
)
from fmalloc_runtime.live.loading import model_bytes

_PATIENCE = 60.0
_FAILED = 'fmalloc_reloads_total{result="failed"}'
_FAILING = "fmalloc_reload_failing"


def damaged(setting: Setting, record: Record) -> None:
    """Point live.json at bundles that are damaged, damage live.json, and take a good one over after each."""
    domain = min(setting.here)
    candidate = setting.bundles / setting.there[domain]
    good = {**setting.here, domain: candidate.name}
    live = setting.bundles / LIVE_FILE
    bundle_cases: dict[str, Callable[[], object]] = {
        name: partial(_offer, setting, good, damage) for name, damage in _bundle_damages(setting)
    }
    live_cases: dict[str, Callable[[], object]] = {
        **{name: partial(live.write_bytes, content) for name, content in _live_damages(good)},
        "live.json deleted": live.unlink,
    }

    with setting.serve("--poll-seconds", 0.05) as server:

        def all_cases(_turn: int) -> None:
            with steady(server, record, setting.truth.calls, at_once=1):
                for name, damage in bundle_cases.items():
                    _case(server, record, setting, name, damage)
                    setting.restore(candidate.name)
                    _take_over(server, record, setting, good, name)
                    _take_over(server, record, setting, setting.here, name)
                for name, damage in live_cases.items():
                    _case(server, record, setting, name, damage)
                    _take_over(server, record, setting, setting.here, name)

        repeat(server, record, setting.truth.calls, all_cases)
        record.facts["failed_reloads"] = server.metrics()[_FAILED]
    record.facts["cases"] = [*bundle_cases, *live_cases]
    setting.restore()
    _unloaded(setting, record)


def _case(server: Server, record: Record, setting: Setting, name: str, damage: Callable[[], object]) -> None:
    failed = server.metrics().get(_FAILED, 0.0)
    damage()
    seen = until(lambda: bool(server.get("/readyz")["failure"]), _PATIENCE)
    record.check(f"/readyz shows: {name}", seen is not None)
    metrics = server.metrics()
    record.check(f"metrics show: {name}", metrics.get(_FAILED, 0.0) > failed and metrics[_FAILING] == 1)
    record.check(f"the old bundles go on serving: {name}", _served(server) == dict(setting.here))


def _take_over(server: Server, record: Record, setting: Setting, live: Mapping[str, str], name: str) -> None:
    make_live(setting.bundles, live)
    taken = until(lambda: _serves(server, live), _PATIENCE)
    record.check(f"a good live.json is taken over after: {name}", taken is not None)


def _bundle_damages(setting: Setting) -> list[tuple[str, Callable[[Path], object]]]:
    other = setting.source / setting.there[max(setting.there)] / MANIFEST_FILE
    return [
        ("a flipped byte", lambda bundle: _flip(_largest(bundle / MODEL_DIRECTORY))),
        ("a truncated model", lambda bundle: _truncate(_largest(bundle / MODEL_DIRECTORY))),
        ("a missing tokenizer", lambda bundle: _largest(bundle / TOKENIZER_DIRECTORY).unlink()),
        ("a missing model", lambda bundle: shutil.rmtree(bundle / MODEL_DIRECTORY)),
        ("an empty manifest", lambda bundle: (bundle / MANIFEST_FILE).write_bytes(b"")),
        ("a foreign manifest", lambda bundle: (bundle / MANIFEST_FILE).write_bytes(other.read_bytes())),
        ("a file too many", lambda bundle: (bundle / "surplus.bin").write_bytes(b"surplus")),
        ("no directory", shutil.rmtree),
    ]


def _live_damages(good: Mapping[str, str]) -> list[tuple[str, bytes]]:
    content = LiveIndex(domains=dict(good)).to_bytes()
    domain = min(good)
    return [
        ("live.json empty", b""),
        ("live.json garbage", bytes(range(256))),
        ("live.json half-written", content[: len(content) // 2]),
        ("live.json of another version", content.replace(b'"version": 1', b'"version": 2')),
        ("live.json without domains", LiveIndex(domains={}).to_bytes()),
        ("live.json with a path", content.replace(good[domain].encode(), b"../elsewhere")),
        ("live.json with an unknown bundle", LiveIndex(domains={**good, domain: f"{domain}@{'0' * 12}"}).to_bytes()),
    ]


def _offer(setting: Setting, good: Mapping[str, str], damage: Callable[[Path], object]) -> None:
    domain = next(domain for domain in good if good[domain] != setting.here[domain])
    damage(setting.bundles / good[domain])
    make_live(setting.bundles, good)


def _unloaded(setting: Setting, record: Record) -> None:
    """With memory for one model: damage the files of a domain that is not loaded, and mend them."""
    domain = max(setting.here)
    memory = max(model_bytes(Bundle.read(setting.bundles / name)) for name in setting.here.values())
    path = setting.bundles / setting.here[domain]
    own = [call for call in setting.truth.calls if call.body["domain"] == domain]
    others = [call for call in setting.truth.calls if call.body["domain"] not in (domain, "auto")]
    with setting.serve("--memory", memory) as server:
        damages: list[tuple[str, Callable[[], object]]] = [
            ("removed", lambda: shutil.rmtree(path / MODEL_DIRECTORY)),
            ("truncated", lambda: _truncate(_largest(path / MODEL_DIRECTORY))),
            ("flipped", lambda: _flip(_largest(path / MODEL_DIRECTORY))),
        ]
        for name, damage in damages:
            _ask(server, record, others[:2])
            record.check("the domain is not loaded", not server.get("/readyz")["domains"][domain]["loaded"])
            damage()
            statuses = record.judge(closed_loop(server.url, own, 2), allowed=(503,))
            record.check(f"a domain whose files were {name} answers 503", set(statuses) == {503}, statuses)
            _ask(server, record, others)
            setting.restore(path.name)
            _ask(server, record, own)
        _ask(server, record, setting.truth.calls)
        record.look_back(server)


def _ask(server: Server, record: Record, calls: Sequence[Call]) -> None:
    record.judge(closed_loop(server.url, calls, 2))


def _serves(server: Server, live: Mapping[str, str]) -> bool:
    return not server.get("/readyz")["failure"] and _served(server) == dict(live)


def _served(server: Server) -> dict[str, str]:
    return {domain: served["bundle"] for domain, served in server.get("/readyz")["domains"].items()}


def _largest(directory: Path) -> Path:
    return max(directory.iterdir(), key=lambda path: path.stat().st_size)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
