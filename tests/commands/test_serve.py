"""fmalloc serve as a command: what it teaches, checks and refuses."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc_runtime.access.keys import add_key
from fmalloc_runtime.bundle.bundle import GoldenRecord
from fmalloc_runtime.server.command import serve
from fmalloc_runtime.settings import Settings, flag
from tests.support.bundles import bundle_of, make_live, write_bundle
from tests.support.server_process import CODE, ROOT, serving


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(serve, [str(argument) for argument in arguments], env=environment)


def test_help_teaches_every_setting() -> None:
    text = run("--help").stdout
    assert "fmalloc serve bundles --port 5000" in text and "fmalloc serve --check --config serve.yaml" in text
    for name in Settings.model_fields:
        assert flag(name) in text
    for section in ("Connections:", "Models:", "Limits of a request:", "Clients:", "Records:", "Options:"):
        assert section in text
    assert "[default: 2MiB]" in text and "--device [auto|cpu|cuda]" in text


def test_check_shows_what_would_be_served_and_where_settings_come_from(bundles: Path, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "site", {"characters": 5})
    (tmp_path / "serve.yaml").write_text(f"device: cpu\nkeys: {tmp_path / 'keys.json'}\nport: 1\n")
    result = run(
        bundles, "--check", "--config", tmp_path / "serve.yaml", "--port", "2", "--no-page", FMALLOC_WORKERS="1"
    )
    assert result.exit_code == 0, result.stderr
    rows = {tuple(line.split()) for line in result.stdout.splitlines()}
    assert ("it", bundle_of(bundles, "it").name, "de-en", "verified") in rows
    assert ("port", "2", "--port") in rows and ("workers", "1", "FMALLOC_WORKERS") in rows
    assert ("device", "cpu", str(tmp_path / "serve.yaml")) in rows and ("host", "127.0.0.1", "default") in rows
    assert ("page", "no", "--page") in rows
    assert f"1 keys in {tmp_path / 'keys.json'}" in result.stdout and "--usage names a file" in result.stdout
    assert "anybody who reaches the server may translate" in run(bundles, "--check", "--device", "cpu").stdout


def test_check_names_all_that_is_wrong(own_bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    (tmp_path / "usage.json").write_text("[]")
    make_live(own_bundles, write_bundle(own_bundles, "it", golden=(GoldenRecord(source="gut", translation="wrong"),)))
    result = run(
        own_bundles, "--check", "--device", "cpu", "--keys", tmp_path / "keys.json", "--usage", tmp_path / "usage.json"
    )
    assert result.exit_code == 2
    for complaint in ("golden.jsonl record 1", "keys.json: Invalid JSON", "usage.json: Input should be an object"):
        assert complaint in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "x", "--beam-size", "0"], "--port: Input should be a valid integer"),
        (["--port", "x", "--beam-size", "0"], "--beam-size: Input should be greater than or equal to 1, found '0'"),
        (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
        (["--keys", "missing.json", "--device", "cpu"], "missing.json: cannot be read"),
        (["--prot", "1"], "No such option"),
    ],
)
def test_wrong_flags_exit_with_2_before_anything_is_loaded(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(bundles, *arguments)
    assert result.exit_code == 2 and complaint in result.stderr and "Traceback" not in result.stderr


def test_bundles_that_are_broken_exit_with_2(own_bundles: Path, tmp_path: Path) -> None:
    model = bundle_of(own_bundles, "it") / "model" / "model.bin"
    model.write_bytes(model.read_bytes()[:-1])
    environment = os.environ | {"PYTHONPATH": str(ROOT / "runtime")}
    for path, complaint in ((own_bundles, "model.bin: sha256 is"), (tmp_path / "nowhere", "live.json: cannot be read")):
        command = [sys.executable, "-c", CODE, str(path), "--port", "0", "--device", "cpu"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode == 2 and complaint in done.stderr and "Traceback" not in done.stderr


def test_it_starts_fast_and_without_what_it_does_not_need(bundles: Path) -> None:
    began = time.perf_counter()
    with serving(bundles) as server:
        # Five times what it takes on an idle machine.
        assert time.perf_counter() - began < 5
        maps = Path(f"/proc/{server.process.pid}/maps")
        if maps.exists():
            libraries = maps.read_text()
            assert "ctranslate2" in libraries
            assert "onnxruntime" not in libraries and "torch" not in libraries


def test_log_lines_of_a_real_server(bundles: Path) -> None:
    with serving(bundles, "--log-format", "json") as server:
        assert server.translate("geheim", domain="it")[0] == 200
        server.process.terminate()
        status, rest = server.end()
    assert status == 0 and '"domain": "it"' in rest and '"characters": 6' in rest and "geheim" not in rest


def test_keys_of_a_real_server(bundles: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "site", {"requests_per_minute": 2})
    with serving(bundles, "--keys", str(tmp_path / "keys.json")) as server:
        assert server.translate("gut")[0] == 403
        bearer = {"Authorization": f"Bearer {key}"}
        fields = {"q": "gut", "source": "de", "target": "en"}
        assert [server.ask("POST", "/translate", fields, **bearer)[0] for _ in range(3)] == [200, 200, 429]
        assert server.ask("GET", "/livez")[0] == 200
