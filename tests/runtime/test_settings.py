"""Settings: which source wins, how values are written, and what is said about wrong ones."""

from pathlib import Path

import pytest

from fmalloc_runtime.settings import SECTIONS, Loaded, Settings, metavar, shown
from fmalloc_shared.errors import FmallocError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine's own, and a folder of the test's own."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FMALLOC_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_variables_over_the_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("serve.yaml").write_text("port: 1\nhost: '::1'\nthreads: 7\nmemory: 2GB\n")
    monkeypatch.setenv("FMALLOC_PORT", "2")
    monkeypatch.setenv("FMALLOC_THREADS", "8")
    loaded = Loaded.of({"port": "3"}, Path("serve.yaml"))
    settings = loaded.settings
    assert (settings.port, settings.threads, settings.host, settings.beam_size) == (3, 8, "::1", None)
    assert settings.memory == 2_000_000_000
    assert loaded.origins == {
        "port": "--port",
        "threads": "FMALLOC_THREADS",
        "host": "serve.yaml",
        "memory": "serve.yaml",
    }


def test_a_variable_may_name_the_file_which_may_be_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("serve.toml").write_text('cors = ["https://a.example", "https://b.example"]\ndrain_seconds = "2m"\n')
    monkeypatch.setenv("FMALLOC_CONFIG", "serve.toml")
    settings = Loaded.of().settings
    assert settings.cors == ("https://a.example", "https://b.example") and settings.drain_seconds == 120


def test_values_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMALLOC_BATCH_WAIT", "500ms")
    monkeypatch.setenv("FMALLOC_PRELOAD", "it, law")
    monkeypatch.setenv("FMALLOC_BODY_LIMIT", "3MiB")
    monkeypatch.setenv("FMALLOC_PAGE", "no")
    monkeypatch.setenv("FMALLOC_KEYS", "")
    settings = Settings()
    assert settings.batch_wait == 0.5 and settings.preload == ("it", "law")
    assert settings.body_limit == 3 * 2**20 and settings.page is False and settings.keys is None
    assert Settings(body_seconds="1.5").body_seconds == 1.5
    assert Settings(preload=()).preload == ()


def test_all_problems_at_once_each_with_source_value_and_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("serve.yaml").write_text("prot: 3\nmemory: 2XB\nbatch_wait: fast\npreload: [it, 'A b']\n")
    monkeypatch.setenv("FMALLOC_BEAM_SIZ", "3")
    monkeypatch.setenv("FMALLOC_LOG_FORMAT", "xml")
    with pytest.raises(FmallocError) as caught:
        Loaded.of({"port": "70000"}, Path("serve.yaml"))
    problems = str(caught.value).splitlines()
    for beginning, ending in [
        ("FMALLOC_BEAM_SIZ: no such setting", "did you mean beam_size?"),
        ("FMALLOC_LOG_FORMAT: ", "'text' or 'json', found 'xml'"),
        ("--port: ", "less than or equal to 65535, found '70000'"),
        ("serve.yaml: prot: no such setting", "did you mean port?"),
        ("serve.yaml: memory: ", "found '2XB'"),
        ("serve.yaml: batch_wait: ", "such as 500ms or 2m, found 'fast'"),
        ("serve.yaml: preload: domain name 'A b'", "found 'A b'"),
    ]:
        assert any(problem.startswith(beginning) and problem.endswith(ending) for problem in problems), problems
    assert len(problems) == 7


def test_settings_that_contradict_each_other() -> None:
    flags = {"beam_size": "9", "alternatives_limit": "8", "body_limit": "1GiB", "decisions_text": True}
    with pytest.raises(FmallocError) as caught:
        Loaded.of(flags)
    assert str(caught.value).splitlines() == [
        "beam_size 9: expected at most beam_limit, 8",
        "alternatives_limit 8: expected less than beam_limit, 8",
        "body_limit 1GiB: expected at most bodies_limit, 64MiB",
        "decisions_text: expected a file in decisions too",
    ]


def test_variables_that_kubernetes_makes_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMALLOC_PORT", "tcp://10.0.0.1:5000")
    monkeypatch.setenv("FMALLOC_PORT_5000_TCP_ADDR", "10.0.0.1")
    with pytest.raises(FmallocError) as caught:
        Loaded.of()
    problems = str(caught.value).splitlines()
    assert len(problems) == 2 and all("enableServiceLinks: false" in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("serve.ini", "port: 1", "serve.ini: expected a file name that ends in .yaml, .yml, .toml"),
        ("serve.yaml", "port: [1", "serve.yaml:1: not YAML: "),
        ("serve.toml", "port = ", "serve.toml: not TOML: "),
        ("serve.yaml", "- port", "serve.yaml:1: expected `name: value`, found a list"),
        ("serve.yaml", "3: port", "serve.yaml: 3: no such setting"),
        ("missing.yaml", None, "missing.yaml: cannot be read: No such file"),
    ],
)
def test_files_that_are_none(name: str, content: str | None, complaint: str) -> None:
    if content is not None:
        Path(name).write_text(content)
    with pytest.raises(FmallocError) as caught:
        Loaded.of(config=Path(name))
    assert str(caught.value).startswith(complaint)


def test_an_empty_file_sets_nothing() -> None:
    Path("serve.yaml").write_text("# nothing yet\n")
    assert Loaded.of(config=Path("serve.yaml")).origins == {}


def test_every_setting_is_in_one_section_and_described() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(["bundles", *listed]) == sorted(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


def test_what_is_shown_can_be_read_again() -> None:
    changed = Settings(memory="5GB", cors="a,b", preload="it", batch_wait=0.0035, body_limit=1234, page=False)
    for settings in (Settings(), changed):
        written = {name: shown(value) for name, value in settings if shown(value)}
        assert Settings(**written) == settings  # type: ignore[arg-type]
    assert shown(changed.memory) == "5GB" and shown(Settings().body_limit) == "2MiB"
    assert metavar("log_format") == "[text|json]"
    assert [metavar(name) for name in ("memory", "preload", "cors", "requests_per_minute")] == [
        "SIZE",
        "A,B",
        "A,B",
        "N",
    ]
