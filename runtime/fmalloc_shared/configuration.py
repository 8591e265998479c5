"""Configuration files that users write, in YAML or TOML: read within limits, duplicates refused, plain values only."""

import math
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import read_small

Key = tuple[int | str, ...]

# Real files have a few kilobytes, and nest five deep.
_MOST_BYTES = 2**16
_MOST_VALUES = 4_000
_DEEPEST = 32
_LONGEST_NUMBER = 100
_LARGEST = 2**63 - 1
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_SCALARS = {f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float", "str")}


@dataclass(frozen=True)
class Configuration:
    """What a file says, and the line of each key, where it is known.

    `content` holds dicts by str, lists, str, int of at most 64 bits, finite float, bool and None.
    """

    content: dict[str, Any]
    lines: Mapping[Key, int]


def read_yaml(path: Path) -> Configuration:
    """Read a mapping from a YAML file; an empty file is an empty one.

    A date is text; tags beyond those of plain values are refused. Aliases and merge keys may be used, up to 4,000
    values in all.

    Raises:
        FmallocError: the file cannot be read, is no YAML, is beyond the limits or gives a key twice; file and line.
    """
    text = _text(path)
    try:
        composer = _Composer(text)
        root = composer.get_single_node()
        if root is None:
            return Configuration({}, {})
        if not isinstance(root, yaml.MappingNode):
            raise FmallocError(f"{path}:{_line(root)}: expected `name: value`, found {_kind(root)}")
        reader = _Reader(path, composer)
        content = reader.value(root, (), 1)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise FmallocError(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FmallocError(
            f"{path}:{line}: not YAML: character {chr(int(error.character))!r} cannot stand in it"
        ) from error
    if reader.problems:
        raise FmallocError("\n".join(reader.problems))
    return Configuration(content, reader.lines)


def read_toml(path: Path) -> Configuration:
    """Read a TOML file, whose lines are not known; limits and errors as for `read_yaml`."""
    try:
        content = tomllib.loads(_text(path))
    except RecursionError as error:
        raise FmallocError(f"{path}: {_too_deep()}") from error
    except ValueError as error:
        raise FmallocError(f"{path}: not TOML: {error}") from error
    inside: list[tuple[Any, int]] = [(content, 1)]
    while inside:
        value, depth = inside.pop()
        if problem := _too_deep() if depth > _DEEPEST else _unusual(value):
            raise FmallocError(f"{path}: {problem}")
        children = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        inside += [(child, depth + 1) for child in children]
    return Configuration(content, {})


def _text(path: Path) -> str:
    try:
        return read_small(path, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FmallocError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error


class _Composer(yaml.SafeLoader):
    """YAML's nodes, dates as text; stops at what is too deep or too much before it costs time."""

    yaml_implicit_resolvers = {  # noqa: RUF012, as declared in the class above
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _SCALARS or tag == _MERGE]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As yaml's, with limits."""
        self._nodes += 1
        self._depth += 1
        if self._depth > _DEEPEST or self._nodes > 2 * _MOST_VALUES:  # keys are nodes too
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(
                problem=_too_deep() if self._depth > _DEEPEST else _too_many(), problem_mark=mark
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    """Values of nodes, aliases expanded; all problems of the file, and the line of each key."""

    def __init__(self, path: Path, composer: _Composer) -> None:
        self._path, self._composer, self._values = path, composer, 0
        self.lines: dict[Key, int] = {}
        self.problems: dict[str, None] = {}  # an aliased node is read more than once

    def value(self, node: yaml.Node, key: Key, depth: int) -> Any:
        """What a node stands for; `key` is where it stands."""
        self._values += 1
        if self._values > _MOST_VALUES:
            raise FmallocError(f"{self._path}: {_too_many()}")
        if depth > _DEEPEST:
            raise FmallocError(f"{self._path}:{_line(node)}: {_too_deep()}; does an alias stand within itself?")
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, key, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            for index, child in enumerate(node.value):
                self.lines[*key, index] = _line(child)
            return [self.value(child, (*key, index), depth + 1) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node)
        shown = node.tag.replace(_TAG, "!!")
        return self._problem(_line(node), f"tag {shown!r}: expected a plain value, a list or `name: value`")

    def _mapping(self, node: yaml.MappingNode, key: Key, depth: int) -> dict[str, Any]:
        first: dict[str, int] = {}
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        # Merged values come first: what stands beside them takes precedence, and so do the lines of it.
        for name_node, value_node in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):
            name, line = name_node.value, _line(name_node)
            if not isinstance(name, str) or not name.isprintable():
                self._problem(line, f"key {name!r}: expected a name" if isinstance(name, str) else "expected a name")
            elif name in first:
                lines = " and ".join(map(str, sorted((first[name], line))))
                self._problem(line, f"key {name!r} is given twice, in lines {lines}; keep one of them")
            elif name_node.tag == _MERGE:
                first[name] = line
                merged = self._merged(value_node, key, depth)
            else:
                first[name] = self.lines[*key, name] = line
                own[name] = self.value(value_node, (*key, name), depth + 1)
        return merged | own

    def _merged(self, node: yaml.Node, key: Key, depth: int) -> dict[str, Any]:
        """What `<<` brings in; of several mappings the first one's values take precedence."""
        found = self.value(node, key, depth + 1)
        result: dict[str, Any] = {}
        for part in reversed(found) if isinstance(found, list) else [found]:
            if isinstance(part, dict):
                result |= part
            else:
                self._problem(_line(node), "<<: expected an alias of `name: value`, or a list of such")
        return result

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        try:
            if kind in ("int", "float") and len(text) > _LONGEST_NUMBER:
                raise ValueError
            value = self._composer.construct_object(node)
        except (ValueError, KeyError, IndexError, OverflowError):
            return self._problem(_line(node), f"{_shortened(text)}: not of type {kind}")
        problem = _unusual(value)
        return self._problem(_line(node), f"{_shortened(text)}: {problem}") if problem else value

    def _problem(self, line: int, message: str) -> None:
        self.problems[f"{self._path}:{line}: {message}"] = None


def _unusual(value: Any) -> str:
    """What is wrong with a value that no setting can have; empty if nothing is."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "expected a number of at most 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return "expected a finite number"
    if isinstance(value, str) and any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in value):
        return "expected text without control characters"
    return ""


def _too_deep() -> str:
    return f"nested deeper than {_DEEPEST} levels"


def _too_many() -> str:
    return f"more than {_MOST_VALUES:,} values, aliases counted as what they stand for"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def _shortened(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
