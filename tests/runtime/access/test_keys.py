"""API keys: what the file keeps, who may read it, when it is read again."""

import json
import os
import stat
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc_runtime.access import keys as module
from fmalloc_runtime.access.keys import Keys, add_key, remove_key
from fmalloc_shared.commands.verbs import keys
from fmalloc_shared.errors import FmallocError


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(keys, [str(argument) for argument in arguments])


def entry(name: str, digit: str) -> dict[str, str]:
    return {"name": name, "sha256": digit * 64}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed file is noticed at once."""
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)


def test_a_key_is_printed_once_and_kept_as_its_digest_alone(path: Path) -> None:
    result = run("add", "weblate", "--file", path, "--characters", "1000", "--requests-per-minute", "60")
    assert result.exit_code == 0
    key = result.stdout.strip()
    assert len(key) > 43 and key.startswith("fm-")
    assert key not in path.read_text()
    (kept,) = json.loads(path.read_text())["keys"]
    assert kept["sha256"] == sha256(key.encode()).hexdigest()
    found = Keys(path).find(key)
    assert found and (found.name, found.characters, found.requests_per_minute) == ("weblate", 1000, 60)
    assert found.characters_per_minute is None


def test_only_the_whole_key_is_known(path: Path) -> None:
    one, other = add_key(path, "one", {}), add_key(path, "other", {})
    known = Keys(path)
    assert [found.name for found in map(known.find, (one, other)) if found] == ["one", "other"]
    for wrong in ("", one[:-1], one + "x", one.upper(), f" {one}", "fm-", "\ud800"):
        assert known.find(wrong) is None


def test_the_file_is_for_its_owner_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        add_key(path, "one", {})
        path.chmod(0o644)
        add_key(path, "two", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_list_and_remove(path: Path) -> None:
    add_key(path, "cat-tool", {"characters_per_minute": 5000})
    add_key(path, "site", {})
    assert run("list", "--file", path).stdout == (
        "cat-tool  5000 characters per minute\nsite  the limits of the server\n"
    )
    assert run("remove", "cat-tool", "--file", path).exit_code == 0
    assert run("list", "--file", path).stdout == "site  the limits of the server\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["add", "site"], "a key named 'site' exists already"),
        (["add", "../x"], "name '../x': use 1 to 63 of"),
        (["add", "new", "--characters", "0"], "0 is not in the range x>=1"),
        (["remove", "nobody"], "no key is named 'nobody': known are site"),
    ],
)
def test_bad_commands_exit_with_2_and_change_nothing(path: Path, arguments: list[str], complaint: str) -> None:
    add_key(path, "site", {})
    before = path.read_bytes()
    result = run(*arguments, "--file", path)
    assert result.exit_code == 2 and complaint in result.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{}x", "Invalid JSON"),
        ('{"version": 2}', "version 2, this program reads version 1"),
        (json.dumps({"keys": [{"name": "a", "sha256": "abc"}]}), "keys.0.sha256: String should match"),
        (json.dumps({"keys": [entry("a", "1"), entry("a", "2")]}), "name 'a' occurs twice"),
        (json.dumps({"keys": [entry("a", "1"), entry("b", "1")]}), "occurs twice"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_it(path: Path, content: str, complaint: str) -> None:
    path.write_text(content)
    with pytest.raises(FmallocError) as caught:
        Keys(path)
    assert str(caught.value).startswith(str(path)) and complaint in str(caught.value)


def test_a_changed_file_is_taken_over(path: Path, always_look: None) -> None:
    first = add_key(path, "first", {})
    known = Keys(path)
    second = add_key(path, "second", {})
    assert known.find(second)
    remove_key(path, "first")
    assert known.find(first) is None and known.find(second)


def test_a_broken_or_missing_file_leaves_the_keys_as_they_were(
    path: Path, always_look: None, caplog: pytest.LogCaptureFixture
) -> None:
    key = add_key(path, "first", {})
    known = Keys(path)
    path.write_text("{")
    assert known.find(key)
    path.unlink()
    assert known.find(key) and known.find(key)
    assert [record.message[:23] for record in caplog.records] == ["keys were not reloaded:"] * 2


def test_two_who_add_at_once_lose_nothing(path: Path) -> None:
    threads = [threading.Thread(target=add_key, args=(path, f"client-{number}", {})) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Keys(path).current().keys) == 8
