"""JSON records that are read strictly and written deterministically."""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import read_small

_VERSION = "version"
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# JSON numbers above are not exact in every reader.
Count = Annotated[int, Field(ge=0, le=2**53)]


def parse_json(data: bytes, where: str) -> Any:
    """The value of JSON in UTF-8; FmallocError names `where` and what is wrong.

    A key that is given twice is refused, because readers differ in which of the two they take; so are NaN and
    infinite numbers, which are not JSON.
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FmallocError(f"{where}: not JSON in UTF-8: {error}") from error


def read_json(path: Path) -> Any:
    """The value of a small JSON file, as of parse_json; FmallocError also if it is missing or no plain file."""
    return parse_json(read_small(path), str(path))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(
                f"key {_shortened(key)} is given twice, with {_shortened(found[key])} and {_shortened(value)}"
            )
        found[key] = value
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


_SHOWN_PROBLEMS = 20


class StrictModel(BaseModel):
    """A frozen record: unknown, missing and repeated keys, wrong types and numbers that are not finite are errors.

    A record with a field `version` describes a file, which has to name the version that this program reads.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    INDENT: ClassVar[int] = 2

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Read one JSON object; FmallocError names `where`, the key, the value and what was expected."""
        try:
            record = cls.model_validate_json(data)
        except ValidationError as error:
            problems = error.errors(include_url=False)
            # In a file of another version other keys are wrong too; only the version says why.
            for problem in problems:
                if _VERSION in cls.model_fields and problem["loc"] == (_VERSION,):
                    raise FmallocError(cls._other_version(where, problem["input"])) from error
            lines = [_described(problem, where) for problem in problems[:_SHOWN_PROBLEMS]]
            if more := len(problems) - len(lines):
                lines.append(f"{where}: and {more:,} more problems")
            raise FmallocError("\n".join(lines)) from error
        parse_json(data, where)
        if _VERSION in cls.model_fields and _VERSION not in record.model_fields_set:
            raise FmallocError(cls._other_version(where, None))
        return record

    @classmethod
    def _other_version(cls, where: str, found: Any) -> str:
        known = " and ".join(map(str, get_args(cls.model_fields[_VERSION].annotation)))
        return f"{where}: version {_shortened(found)}, this program reads version {known}"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that holds one JSON object; FmallocError if it is missing or not exactly that."""
        return cls.parse(read_small(path), str(path))

    def to_bytes(self) -> bytes:
        """Indented JSON with sorted keys: equal records give equal bytes."""
        text = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=self.INDENT, sort_keys=True)
        return f"{text}\n".encode()

    def to_line(self) -> bytes:
        """One line of a JSON-lines file, keys sorted."""
        return f"{json.dumps(self.model_dump(mode='json'), ensure_ascii=False, sort_keys=True)}\n".encode()


def _described(problem: ErrorDetails, where: str) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {f'{key}: ' if key else ''}{problem['msg']}, found {_shortened(problem['input'])}"


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
