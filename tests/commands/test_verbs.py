"""What all verbs have in common: help at once, one meaning per flag, errors without tracebacks."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from fmalloc_runtime.routing.decisions import Decision
from fmalloc_shared.commands.command import Command, Group, Verb
from fmalloc_shared.commands.verbs import KEYS, ROUTING, SECTIONS, main
from fmalloc_shared.errors import FmallocError
from tests.support import ROOT
from tests.support.killing import environment
from tests.support.needs import skip_without
from tests.support.verbs import COMMANDS

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
VERBS = {name: verb for table in (SECTIONS, ROUTING, KEYS) for verbs in table.values() for name, verb in verbs.items()}
WITH_EXTRA = [words for words, command in COMMANDS.items() if isinstance(command, Command) and command.extra]
# The least that each of them has to be given before it looks for its libraries; verify needs them with a store only.
GIVEN = {
    ("train",): ("recipe.yaml",),
    ("pretrain",): ("--train", "x", "--output-dir", "absent"),
    ("compare",): ("recipe.yaml",),
    ("relearn",): ("store", "it", "--data", "x"),
    ("correct",): ("store", "it", "--from", "x"),
    ("export",): ("--all",),
    ("eval",): ("store",),
    ("bench",): ("bundles", "--test", "x"),
    ("shallow",): ("store", "--general", "x"),
    ("verify",): (".", "--store", "store"),
    ("routing", "costs"): (),
    ("keys", "generate"): ("release",),
    ("keys", "sign"): ("bundles", "--key", "release.key"),
}
# Triton cannot choose a device by itself; train is given the text of its tasks; verify finds text by its digest;
# shallow and bench take one text; bench measures several numbers of threads; what export writes is a format of models.
OTHERWISE = {
    ("--device", "triton"),
    ("--task", "train"),
    ("--calibration", "verify"),
    ("--sources", "shallow"),
    ("--sources", "bench"),
    ("--format", "export"),
    ("--threads", "bench"),
    ("--test", "bench"),
    ("--memory", "export"),
    ("--glossary", "export"),
}


def names(words: tuple[str, ...]) -> str:
    return " ".join(words)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="fmalloc")


PROGRAM = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
sys.argv = ["fmalloc", *{arguments!r}]
from fmalloc_shared.commands.verbs import main
try:
    main()
finally:
    heavy = {{"torch", "ctranslate2", "numpy", "rich", "pydantic"}}
    print("loaded", *sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


def apart(*arguments: str, missing: tuple[str, ...] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, where modules cannot be imported; says at the end what it has loaded."""
    command = [sys.executable, "-c", PROGRAM.format(missing=missing, arguments=arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, **options)


def loaded(done: subprocess.CompletedProcess[str]) -> set[str]:
    return set(done.stderr.splitlines()[-1].removeprefix("loaded").split())


def test_the_help_loads_nothing_and_lists_every_verb_by_what_it_is_for() -> None:
    done = apart("--help")
    assert done.returncode == 0 and not loaded(done), done.stderr
    for section, verbs in SECTIONS.items():
        listed = done.stdout.split(f"\n{section}:\n")[1].split("\n\n")[0]
        assert re.findall(r"^  ([\w-]+) ", listed, re.MULTILINE) == list(verbs)
    assert "_FMALLOC_COMPLETE=bash_source" in done.stdout


def test_the_version() -> None:
    assert re.fullmatch(r"fmalloc \d+\.\d+\.\d+\n", run("--version").output)


@pytest.mark.parametrize("words", COMMANDS, ids=names)
def test_help_teaches(words: tuple[str, ...]) -> None:
    text = run(*words, "--help").output
    command = COMMANDS[words]
    assert text.startswith(f"Usage: fmalloc {names(words)} ")
    assert f"\n  Example:\n    fmalloc {names(words)}" in text
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name
    if words[-1] in VERBS:
        assert command.help is not None and command.help.startswith(VERBS[words[-1]].help)


def test_help_and_completion_of_every_verb_come_without_engines() -> None:
    """In one process, because starting one takes most of the time."""
    code = "\n".join(
        [
            "import sys, time",
            "from click.testing import CliRunner",
            "from fmalloc_shared.commands.verbs import main",
            "began = time.perf_counter()",
            f"for words in {list(COMMANDS)!r}:",
            "    assert CliRunner().invoke(main, [*words, '--help']).exit_code == 0, words",
            "print(time.perf_counter() - began, *{'torch', 'transformers', 'ctranslate2', 'onnx'} & set(sys.modules))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert not heavy
    assert float(seconds) < 5, "a tenth of that on an idle machine"
    completing = environment() | {"_FMALLOC_COMPLETE": "bash_complete", "COMP_WORDS": "fmalloc tr", "COMP_CWORD": "1"}
    program = "from fmalloc_shared.commands.verbs import main; main(prog_name='fmalloc')"
    done = subprocess.run([sys.executable, "-c", program], env=completing, capture_output=True, text=True, check=True)
    assert {line.partition(",")[2] for line in done.stdout.split()} == {"train", "translate", "triton"}


@pytest.mark.parametrize("words", COMMANDS, ids=names)
def test_nonsense_is_a_message(words: tuple[str, ...]) -> None:
    result = run(*words, "--nonsense")
    assert result.exit_code == 2
    assert "No such option" in result.output and "Traceback" not in result.output


@pytest.mark.parametrize("words", COMMANDS, ids=names)
def test_values_of_the_wrong_type_are_a_message(words: tuple[str, ...]) -> None:
    for option in COMMANDS[words].params:
        if isinstance(option, click.Option) and isinstance(option.type, click.Choice | click.types.IntParamType):
            result = run(*words, option.opts[0], "nonsense")
            assert result.exit_code == 2, option.name
            (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
            assert option.opts[0] in line and "Traceback" not in result.output


@pytest.mark.parametrize("words", COMMANDS, ids=names)
@pytest.mark.parametrize("path", [".", "..", "a/..", "a\n", "x" * 300])
def test_odd_paths_are_a_message(
    words: tuple[str, ...], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    arguments = [path for parameter in COMMANDS[words].params if isinstance(parameter, click.Argument)]
    options = [parameter for parameter in COMMANDS[words].params if isinstance(parameter, click.Option)]
    needed = [word for option in options if option.required for word in (option.opts[0], path)]
    paths = [[option.opts[0], path] for option in options if isinstance(option.type, click.Path)]
    for given in (*paths, [word for option in paths for word in option]):
        result = run(*words, *needed, *given, *arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), (given, result.exception)
        assert result.exit_code == 2 or words == ("doctor",), (given, result.output)


@pytest.mark.parametrize("words", WITH_EXTRA, ids=names)
def test_a_missing_library_is_named_with_the_extra_that_installs_it(words: tuple[str, ...], tmp_path: Path) -> None:
    command = COMMANDS[words]
    assert isinstance(command, Command)
    done = apart(*words, *GIVEN[words], missing=("torch", "transformers", "sacrebleu", "minisign"), cwd=tmp_path)
    assert done.returncode == 2
    (message, _loaded) = done.stderr.splitlines()
    assert re.fullmatch(rf"Error: \w+ is not installed: pip install 'fmalloc\[{command.extra}\]'", message)


def test_status_and_report_need_no_torch(tmp_path: Path) -> None:
    for verb in ("status", "report"):
        done = apart(verb, "absent", cwd=tmp_path)
        assert done.returncode == 2 and "absent" in done.stderr
        assert not {"torch", "ctranslate2"} & loaded(done)


def test_unknown_verbs() -> None:
    for words in (("unknown",), ("routing", "unknown")):
        result = run(*words)
        assert result.exit_code == 2 and "No such command 'unknown'" in result.output


def test_a_flag_has_one_type_everywhere() -> None:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for words, command in COMMANDS.items():
        for option in command.params:
            if isinstance(option, click.Option):
                kind = "flag" if option.is_flag else option.make_metavar(click.Context(command))
                for name in option.opts:
                    found[name][names(words)] = f"{kind}…" if option.multiple else kind
    assert len(found) > 60
    for name, kinds in found.items():
        assert re.fullmatch(r"--[a-z]+(-[a-z]+)*|-O|-o", name), name
        assert len({kind for verb, kind in kinds.items() if (name, verb) not in OTHERWISE}) <= 1, f"{name}: {kinds}"
    assert all(verb in found[name] and len(set(found[name].values())) > 1 for name, verb in OTHERWISE)


def test_names_with_a_dash_are_the_same_commands() -> None:
    verbs = ("train", "pretrain", "export", "eval", "translate", "serve")
    same = {f"fmalloc-{name}": VERBS[name].target for name in verbs}
    assert same | {"fmalloc": "fmalloc_shared.commands.verbs:main"} == SCRIPTS
    code = "import sys; sys.argv = ['/bin/fmalloc-train', '--help']; from fmalloc.commands import train; train()"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: fmalloc-train [OPTIONS] [RECIPE]")


def test_underscores_are_read_where_converters_of_ctranslate2_have_them(tmp_path: Path) -> None:
    text = run("export", "--help").output
    assert "--output-dir" in text and "--output_dir" not in text
    for spelled in ("--output-dir", "--output_dir"):
        result = run("export", "--all", "--store", str(tmp_path / "absent"), spelled, str(tmp_path / "bundles"))
        assert result.exit_code == 2 and "absent" in result.output, result.output
    assert run("triton", "--output_dir", "x").exit_code == 2


def _failing(error: BaseException) -> Group:
    class Raising(Verb):
        def load(self) -> click.Command:
            raise error

    @click.group(cls=Group, sections={"Commands": {"fail": Raising("", "Fail.")}})
    def group() -> None:
        """A table with one verb that cannot be imported."""

    return group


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(FmallocError("mend this"), 2, "Error: mend this"), (KeyboardInterrupt(), 130, "interrupted: ")],
)
def test_errors_while_a_verb_is_imported(error: BaseException, code: int, message: str) -> None:
    result = CliRunner().invoke(_failing(error), ["fail"])
    assert result.exit_code == code and message in result.output and "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("doctor", "absent"), ("doctor", "--json")])
def test_a_reader_that_goes_away_ends_it_without_a_word(arguments: tuple[str, ...], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "fmalloc", *arguments]
    done = subprocess.run(
        command, env=environment(), cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 1 and not done.stderr


def files_of(process: int) -> set[Path]:
    """What it has open now."""
    found = set()
    folder = Path(f"/proc/{process}/fd")
    for link in folder.iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            found.add(link.readlink())
    return found


def test_ctrl_c_exits_with_130(tmp_path: Path) -> None:
    """While it reads a log that takes it seconds."""
    if not Path("/proc/self/fd").exists():
        skip_without("proc")
    log = tmp_path / "decisions.jsonl"
    time, route = "2026-01-01T00:00:00Z", {"domain": "it", "score": 1.0, "scores": {"it": 1.0}, "reason": "x"}
    decision = Decision(time=time, asked="auto", bundle="it@0", texts=1, lines=1, characters=1, **route)  # type: ignore[arg-type]
    log.write_bytes(decision.to_line() * 300_000)
    command = [sys.executable, "-m", "fmalloc", "routing", "replay", str(log)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        while log not in files_of(process.pid):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.startswith("interrupted: ") and "Traceback" not in errors
