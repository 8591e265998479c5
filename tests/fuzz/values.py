"""Mutations of JSON: values of other types, sizes and signs, keys that are missing, foreign or there twice."""

import json
import random
from typing import Any

# As it is written, so that it can be what no encoder gives.
_RAW = (
    "null", "true", "false", "0", "1", "-1", "2", "7", "1.5", "-0.0", "1e999", "-1e999", "NaN", "Infinity",
    "1e-320", "1e308",
    "9" * 400, "9223372036854775808", "-9223372036854775809", "4294967296", "1E2", "01", "1_0", '""', '" "',
    '"\\u0000"',
    '"\\ud800"', '"\\u001b[31mred"', '"\\u202e\\u2066"', '"\\u009b1m"', '"a\\nb"', '"../../../etc/passwd"',
    '"/dev/zero"', '"general"',
    '"it"', '"O2"', '"' + "a" * 64 + '"', '"' + "0" * 64 + '"', '"' + "x" * 300_000 + '"', '"{[%s %n $HOME ~"',
    "[]", "{}", "[[]]",
    '[""]', "[null]", "[1]", '[1,"a",{}]', '{"a":1}', '{"":null}', "[" * 50_000 + "]" * 50_000,
    '{"a":' * 900 + "1" + "}" * 900,
    "[" + "0," * 100_000 + "0]", "'single'", "undefined",
)  # fmt: skip
_KEYS = (
    "a",
    "",
    " ",
    "name",
    "version",
    "__proto__",
    "auto_map",
    "\u0000",
    "\u001b[2J",
    "../x",
    "general",
    "ｎame",
    "x" * 300,
    "domain",
    "files",
)
_HERE = "\ufdd0here\ufdd0"


def mutate_json(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """JSON, or lines of it, with one or two of its values or keys changed; what was done to it as well."""
    lines = content.decode().splitlines()
    try:
        document = json.loads(content)
    except ValueError:
        if not lines:
            return b"{}\n", "{}"
        number = draw.randrange(len(lines))
        line, note = _mutated(json.loads(lines[number]), draw)
        lines[number] = line
        return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass"), f"line {number + 1}: {note}"
    text, note = _mutated(document, draw)
    return text.encode("utf-8", "surrogatepass"), note


def _mutated(document: Any, draw: random.Random) -> tuple[str, str]:
    if draw.random() < 0.03:
        return json.dumps(document, indent=7), "other white space"
    places = list(_places(document, ()))
    parents = [place for place in places if isinstance(_at(document, place), dict | list)]
    if draw.random() < 0.55:
        raw = draw.choice(_RAW)
        place = draw.choice(places)
        return _written(_set(document, place, _HERE), raw), f"{_name(place)} = {raw[:40]}"
    place = draw.choice(parents)
    return _restructured(document, place, _at(document, place), draw)


def _restructured(document: Any, place: tuple[Any, ...], parent: Any, draw: random.Random) -> tuple[str, str]:
    """A member deleted, added, renamed, doubled or in another place."""
    where = _name(place)
    items = list(parent.items()) if isinstance(parent, dict) else list(enumerate(parent))
    if not items or draw.random() < 0.2:
        key, raw = draw.choice(_KEYS), draw.choice(_RAW)
        added = {**parent, key: _HERE} if isinstance(parent, dict) else [*parent, _HERE]
        return _written(_set(document, place, added), raw), f"{where}: {key!r}: {raw[:40]} added"
    key, value = draw.choice(items)
    rest = [(k, v) for k, v in items if k != key]
    if not isinstance(parent, dict):
        changed = draw.choice(
            [[v for _, v in rest], [*parent, value], parent[::-1], [value] * 3, [*[v for _, v in rest], value]]
        )
        return _written(_set(document, place, changed)), f"{where}: list of {len(changed)} instead of {len(parent)}"
    match draw.randrange(4):
        case 0:
            return _written(_set(document, place, dict(rest))), f"{where}.{key} deleted"
        case 1:
            new = draw.choice((*_KEYS, *(k for k, _ in items)))
            return _written(
                _set(document, place, {new if k == key else k: v for k, v in items})
            ), f"{where}.{key} renamed {new!r}"
        case 2:
            raw = f"{json.dumps(value)}, {json.dumps(key)}: {draw.choice((json.dumps(value), *_RAW))}"
            return _written(_set(document, place, {**parent, key: _HERE}), raw), f"{where}.{key} twice"
        case _:
            other = draw.choice(items)[0]
            swapped = {**parent, key: parent[other], other: value}
            return _written(_set(document, place, swapped)), f"{where}: {key} and {other} swapped"


def _places(value: Any, path: tuple[Any, ...]) -> Any:
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(inner, (*path, key))


def _at(document: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        document = document[key]
    return document


def _set(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    key, *rest = place
    changed = _set(document[key], tuple(rest), value)
    if isinstance(document, dict):
        return {**document, key: changed}
    return [changed if index == key else item for index, item in enumerate(document)]


def _written(document: Any, raw: str = "") -> str:
    return json.dumps(document, ensure_ascii=False).replace(json.dumps(_HERE, ensure_ascii=False), raw) + "\n"


def _name(place: tuple[Any, ...]) -> str:
    return ".".join(("$", *map(str, place)))
