"""Configuration files: whatever is in them, a value or a message with its line, at once."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fmalloc.commands import train
from fmalloc.recipe import Recipe, read_recipe
from fmalloc_runtime.server.command import serve
from fmalloc_runtime.settings import Settings
from fmalloc_shared.configuration import read_toml, read_yaml
from fmalloc_shared.environment import as_written
from fmalloc_shared.errors import FmallocError


def ladder(levels: int, rungs: int, kind: str = "[{}]") -> str:
    """Each level stands for `rungs` of the one below."""
    first = "a0: &a0 {x: 1}\n"
    inner = ["<<: [{}]" if kind == "{{{}}}" else "{}"] * levels
    return first + "".join(
        f"a{level}: &a{level} {kind.format(inner[level - 1].format(', '.join([f'*a{level - 1}'] * rungs)))}\n"
        for level in range(1, levels + 1)
    )


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("a: 1\nb: [x, 2.5, true, ~]\n", {"a": 1, "b": ["x", 2.5, True, None]}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("a: &a {x: 1}\nb: {y: 3, <<: [*a, {x: 2, z: 4}]}\n", {"a": {"x": 1}, "b": {"x": 1, "y": 3, "z": 4}}),
        ("day: 2026-02-30\nother: 2026-02-28\n", {"day": "2026-02-30", "other": "2026-02-28"}),
        ("no: 1\n3: x\n", {"no": 1, "3": "x"}),
        ("\ufeffa: 'é'\n", {"a": "é"}),
    ],
)
def test_plain_values(tmp_path: Path, text: str, content: dict[str, Any]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path).content == content


def test_every_key_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: &a\n  x: 1\nb:\n  - <<: *a\n    y: 2\n")
    lines = read_yaml(path).lines
    assert [lines[key] for key in (("a",), ("a", "x"), ("b", 0), ("b", 0, "x"), ("b", 0, "y"))] == [1, 2, 4, 2, 5]


TROUBLE = {
    "a: 1\nb: 2\na: 3\n": "c.yaml:3: key 'a' is given twice, in lines 1 and 3",
    "a: {b: 1,\n  b: 2}\n": "c.yaml:2: key 'b' is given twice, in lines 1 and 2",
    "a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n": "c.yaml:4: key '<<' is given twice, in lines 3 and 4",
    ladder(10, 10): "more than 4,000 values",
    ladder(10, 10, "{{{}}}"): "more than 4,000 values",
    "a: &a [*a]\n": "does an alias stand within itself?",
    "a: &a {b: {c: *a}}\n": "does an alias stand within itself?",
    "a: " + "[" * 5000: "nested deeper than 32",
    "- " * 5000: "nested deeper than 32",
    "- a\n": "c.yaml:1: expected `name: value`, found a list",
    "text": "c.yaml:1: expected `name: value`, found a single value",
    "a: *b\n": "c.yaml:1: not YAML: found undefined alias",
    "a: [1\n": "c.yaml:2: not YAML",
    "a: 1\n---\nb: 2\n": "not YAML",
    "a: \x01": "c.yaml:1: not YAML: character '\\x01'",
    "a: !!binary aGk=\n": "tag '!!binary': expected a plain value",
    "a: !!python/name:os.system\n": "tag '!!python/name:os.system'",
    "a: !!set {b}\n": "tag '!!set'",
    "a: !!int b\n": "'b': not of type int",
    "a: !!bool maybe\n": "'maybe': not of type bool",
    "a: !!int ''\n": "'': not of type int",
    "a: 0b_\n": "'0b_': not of type int",
    f"a: {'9' * 5000}\n": "not of type int",
    f"a: 0x{'f' * 90}\n": "at most 64 bits",
    "a: .nan\nb: -.inf\n": "c.yaml:2: '-.inf': expected a finite number",
    'a: "\\0"\n': "'\\x00': expected text without control characters",
    'a: "\\e[2J"\n': "expected text without control characters",
    'a: "\\ud800"\n': "expected text without control characters",
    '"\\e[2J": 1\n': "key '\\x1b[2J': expected a name",
    "[a, b]: 1\n": "c.yaml:1: expected a name",
    "<<: 5\n": "c.yaml:1: <<: expected an alias",
    "#" * 70_000: "is larger than 65536 bytes",
}


@pytest.mark.parametrize(("text", "message"), TROUBLE.items(), ids=range(len(TROUBLE)))
def test_trouble_is_a_message(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(FmallocError) as caught:
        read_yaml(path)
    assert message in str(caught.value) and str(caught.value).startswith(str(path))
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 5000, "nested deeper than 32"),
        (".".join("a" * 500) + " = 1", "nested deeper than 32"),
        (f"a = {'9' * 5000}", "not TOML"),
        (f"a = [0x{'f' * 5000}]", "at most 64 bits"),
        ("a = nan", "a finite number"),
        ('a = "\\u0000"', "without control characters"),
        ('"\\u001b" = 1', "without control characters"),
        ("a = 1\na = 2", "not TOML: Cannot overwrite a value"),
        ("a = 2026-02-30", "not TOML"),
    ],
)
def test_trouble_in_toml(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FmallocError, match=message):
        read_toml(path)


def test_what_is_no_text_file(tmp_path: Path) -> None:
    (tmp_path / "utf16.yaml").write_text("a: 1", encoding="utf-16")
    os.mkfifo(tmp_path / "fifo.yaml")
    for name, message in (
        ("utf16.yaml", "not UTF-8"),
        ("fifo.yaml", "is a FIFO"),
        ("", "cannot be read: Is a directory"),
        ("x", "No such file"),
    ):
        with pytest.raises(FmallocError, match=message):
            read_yaml(tmp_path / name)


KEYS = ["<<", *Recipe.model_fields, "updates", "name", "data", "source", *list(Settings.model_fields)[:8]]
SCALARS = st.sampled_from(
    [
        "1",
        "-0",
        "1.5",
        "~",
        "yes",
        "=",
        "<<",
        "1e999",
        "!!str 5",
        "!!null x",
        "!foo x",
        "&a x",
        "*a",
        "*b",
        "'",
        '"',
        "|",
    ]
    + ["it", "${HOME}/x", "$NOT_SET", "~nobody/x", "x" * 5000, "2026-02-30", "2026-13-01T25:61:61", "12:30", "1:59.5"]
    + [text.partition(": ")[2].strip() for text in TROUBLE if "\n" not in text.strip()]
) | st.text(max_size=8)
INNER = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(st.sampled_from(KEYS), inner), max_size=4).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items) + "}"
        ),
        st.tuples(st.sampled_from("ab"), inner).map(lambda pair: f"&{pair[0]} {pair[1]}"),
    ),
    max_leaves=12,
)
FILES = st.lists(
    st.tuples(st.sampled_from(KEYS), INNER).map(": ".join) | st.builds(ladder, st.integers(1, 12), st.integers(1, 12)),
    max_size=8,
).map("\n".join)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("base: x\ngeneral: x\ntasks: [{name: it, data: x, learning: {updates: 0}}]\nlearning: 5")
@given(FILES)
def test_any_yaml_ends_at_once_with_0_or_2(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for command, arguments in (
        (train, [str(path), "--updates", "5", "--dry-run"]),
        (serve, [str(tmp_path / "none"), "--check", "--config", str(path)]),
    ):
        began = time.process_time()
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code in (0, 2) and isinstance(result.exception, SystemExit | None), result.exception
        assert time.process_time() - began < 1


SECRET = "/srv/qqzzy"


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ("base: ${MODELS}/base", "${MODELS}/base/config.json: no such file"),
        ("base: $MODELS", "${MODELS}/config.json: no such file"),
        ("base: ${MODELS}/a\nsparsity: 5", "sparsity: Input should be less than 1"),
        ("base: ${MODELS}/a\nstore: ['${MODELS}']", "store: Input is not a valid path"),
    ],
)
def test_what_comes_from_the_environment_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, shown: str
) -> None:
    monkeypatch.setenv("MODELS", SECRET)
    path = tmp_path / "c.yaml"
    path.write_text(f"{changed}\ngeneral: ${{MODELS}}/text\ntasks: [{{name: it, data: '${{MODELS}}/it'}}]\n")
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(train, [str(path), *more])
        assert result.exit_code == 2 and shown in result.output, result.output
        assert SECRET not in result.output


def test_folders_above_and_files_below_are_shown_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", SECRET)
    path = tmp_path / "c.yaml"
    path.write_text("base: ${MODELS}/de/base\ngeneral: x\ntasks: [{name: it, data: x}]\n")
    assert read_recipe(path).base == Path(SECRET, "de", "base")
    message = f"{SECRET}/de/base/config.json: {SECRET}/de, {SECRET}: no, {SECRET}x"
    assert as_written(message) == f"${{MODELS}}/de/base/config.json: ${{MODELS}}/de, ${{MODELS}}: no, {SECRET}x"
