"""Reference made from the code: keys of records, rooms of packages, placeholders, formats of files, all commands.

`python -m docs.reference` brings the tables of formats.md, architecture.md, serving.md and translators.md up to date; a
test fails where they are not.
"""

import ast
import inspect
import re
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click

from fmalloc_runtime.files.formats import FORMATS
from fmalloc_runtime.text.syntaxes import SYNTAXES

ROOT = Path(__file__).resolve().parents[1]
PAGES = tuple(ROOT / "docs" / name for name in ("architecture.md", "formats.md", "serving.md", "translators.md"))
_KEYS = re.compile(r"(<!-- keys of ([\w.]+):(\w+) -->\n)(.*?)(<!-- end of keys -->)", re.DOTALL)
_ROOMS = re.compile(r"(<!-- rooms of ([\w/]+) -->\n)(.*?)(<!-- end of rooms -->)", re.DOTALL)
_SYNTAXES = re.compile(r"(<!-- syntaxes of placeholders -->\n)(.*?)(<!-- end of syntaxes -->)", re.DOTALL)
_FILES = re.compile(r"(<!-- formats of files -->\n)(.*?)(<!-- end of formats -->)", re.DOTALL)
_NAMES = {str: "text", int: "integer", float: "number", bool: "true or false"}
_CODE_BLOCK = "\b"


def with_tables(text: str) -> str:
    """The page with every table between its marks made anew from what the mark names."""
    own_tables = {getattr(import_module(module), name) for _, module, name, _, _ in _KEYS.findall(text)}

    def keys(found: re.Match[str]) -> str:
        record = getattr(import_module(found[2]), found[3])
        rows = ((f"`{key}`", kind, meaning) for key, kind, meaning in _rows(record, own_tables))
        return f"{found[1]}\n{_table(('key', 'type', 'meaning'), rows)}\n\n{found[5]}"

    def rooms(found: re.Match[str]) -> str:
        return f"{found[1]}\n{_table(('floor', 'room', 'holds'), _rooms(ROOT / found[2]))}\n\n{found[4]}"

    def syntaxes(found: re.Match[str]) -> str:
        rows = ((it.name, it.users, " ".join(f"`{example}`" for example in it.examples), it.limit) for it in SYNTAXES)
        return f"{found[1]}\n{_table(('placeholder', 'used by', 'for example', 'limits'), rows)}\n\n{found[3]}"

    def files(found: re.Match[str]) -> str:
        rows = ((it.name, " ".join(f"`{name}`" for name in it.suffixes), it.changed, it.stays) for it in FORMATS)
        return f"{found[1]}\n{_table(('format', 'names', 'what is translated', 'all else'), rows)}\n\n{found[3]}"

    text = _FILES.sub(files, text)
    return _SYNTAXES.sub(syntaxes, _ROOMS.sub(rooms, _KEYS.sub(keys, text)))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["--"] * len(lines[0]))
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _rooms(package: Path) -> Iterator[tuple[str, str, str]]:
    """Rooms and modules of a package from the top floor down, with the first line of what each says of itself."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    floors = next(rule["layers"] for rule in linter["contracts"] if rule.get("containers") == [package.name])
    for floor, names in zip(range(len(floors), 0, -1), floors, strict=True):
        for name in re.findall(r"\w+", names):
            folder = package / name
            module = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            first = (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").partition("\n")[0]
            yield str(floor), f"`{name}{'/' if folder.is_dir() else '.py'}`", _line(first.removesuffix("."))


def command_page(group: click.Group, name: str) -> str:
    """Markdown of all commands of a group with their arguments, options and defaults, in the group's order."""
    context = click.Context(group, info_name=name)
    parts = [
        "# Commands",
        "Made from the commands themselves; `--help` of each says the same.",
        *_help_of(group, context),
    ]
    return "\n\n".join([*parts, *_subcommands(group, context, level=2)]) + "\n"


def _subcommands(group: click.Group, context: click.Context, level: int) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, f"{group.name} lists {name}, which it does not have"
        inner = click.Context(command, info_name=name, parent=context)
        yield f"{'#' * level} {inner.command_path}"
        yield f"```text\n{' '.join([inner.command_path, *command.collect_usage_pieces(inner)])}\n```"
        yield from _help_of(command, inner)
        records = (parameter.get_help_record(inner) for parameter in command.get_params(inner))
        if rows := [record for record in records if record and record[1]]:
            yield _table(("option", "meaning"), ((f"`{names}`", _line(meaning)) for names, meaning in rows))
        if isinstance(command, click.Group):
            yield from _subcommands(command, inner, level + 1)


def _help_of(command: click.Command, context: click.Context) -> Iterator[str]:
    with context.scope(cleanup=False):
        text = inspect.cleandoc(command.help or "").partition("\f")[0]
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith(_CODE_BLOCK):
            yield f"```text\n{textwrap.dedent(paragraph.removeprefix(_CODE_BLOCK).strip(chr(10)))}\n```"
        elif paragraph:
            yield _line(paragraph)


def _rows(record: type[Any], own_tables: set[type[Any]], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, type and meaning of each field; those of an inner record follow it, unless it has its own table."""
    docstrings = _docstrings(record)
    for name, field in record.__pydantic_fields__.items():
        key, inner = prefix + name, _record_in(field.annotation)
        yield key, _kind(field.annotation, own_tables), _line(docstrings.get(name) or field.description or "")
        if inner and inner not in own_tables:
            yield from _rows(inner, own_tables, f"{key}{_path(field.annotation)}.")


def _docstrings(record: type[Any]) -> Mapping[str, str]:
    """The string below each field's annotation, without its full stop."""
    body = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(str(text))):
                found[name] = inspect.cleandoc(text).removesuffix(".")
    return found


def _unwrapped(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _alternatives(kind: Any) -> tuple[Any, ...]:
    kind = _unwrapped(kind)
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _record_in(kind: Any) -> type[Any] | None:
    """The record that a field holds, also inside lists, maps and alternatives."""
    for alternative in map(_unwrapped, _alternatives(kind)):
        if _is_record(alternative):
            record: type[Any] = alternative
            return record
        if get_origin(alternative) in (list, tuple, dict) and (inner := _record_in(_items(alternative))):
            return inner
    return None


def _is_record(kind: Any) -> bool:
    """Whether a type is a model or a dataclass of pydantic."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_fields__")


def _items(kind: Any) -> Any:
    """What a list or a map holds."""
    return get_args(kind)[1 if get_origin(kind) is dict else 0]


def _path(kind: Any) -> str:
    """How keys lead from a field to the record in it: `[]` for items of a list, `.<name>` for those of a map."""
    for alternative in map(_unwrapped, _alternatives(kind)):
        if get_origin(alternative) in (list, tuple) and _record_in(alternative):
            return f"[]{_path(_items(alternative))}"
        if get_origin(alternative) is dict and _record_in(alternative):
            return f".<name>{_path(_items(alternative))}"
    return ""


def _kind(annotation: Any, own_tables: set[type[Any]]) -> str:
    """A field's type in the words of JSON; a record with its own table by its name."""
    kinds = map(_unwrapped, _alternatives(annotation))
    return " or ".join("null" if kind is NoneType else _alternative(kind, own_tables) for kind in kinds)


def _alternative(kind: Any, own_tables: set[type[Any]]) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) in (list, tuple, dict):
        return f"{'map' if get_origin(kind) is dict else 'list'} of {_kind(_items(kind), own_tables)}"
    if _is_record(kind):
        return kind.__name__ if kind in own_tables else "object"
    if isinstance(kind, type) and issubclass(kind, tuple):
        return f"list of {_NAMES[str]}"
    return _NAMES.get(kind, "any")


def _line(text: str) -> str:
    """The text on one line; angle brackets and stars outside of backticks are what they are."""
    pieces = " ".join(text.split()).split("`")
    pieces[::2] = [piece.replace("<", "\\<").replace("*", "\\*") for piece in pieces[::2]]
    return "`".join(pieces)


def main() -> None:
    """Bring the pages up to date."""
    for page in PAGES:
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
