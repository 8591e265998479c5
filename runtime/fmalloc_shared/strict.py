"""JSON records that are read strictly and written deterministically."""

import json
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from fmalloc_shared.errors import FmallocError

_VERSION = "version"


class StrictModel(BaseModel):
    """A frozen record: unknown keys, missing keys and wrong types are errors.

    A record with a field `version` describes a file, which has to name the version that this program reads.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

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
                if problem["loc"] == (_VERSION,):
                    raise FmallocError(cls._other_version(where, problem["input"])) from error
            raise FmallocError("\n".join(_described(problem, where) for problem in problems)) from error
        if _VERSION in cls.model_fields and _VERSION not in record.model_fields_set:
            raise FmallocError(cls._other_version(where, None))
        return record

    @classmethod
    def _other_version(cls, where: str, found: Any) -> str:
        return f"{where}: version {found!r}, this program reads version {cls.model_fields[_VERSION].default}"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that holds one JSON object; FmallocError if it is missing or not exactly that."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FmallocError(f"{path}: cannot be read: {error.strerror}") from error
        return cls.parse(data, str(path))

    def to_bytes(self) -> bytes:
        """Indented JSON with sorted keys: equal records give equal bytes."""
        text = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=self.INDENT, sort_keys=True)
        return f"{text}\n".encode()

    def to_line(self) -> bytes:
        """One line of a JSON-lines file, keys sorted."""
        return f"{json.dumps(self.model_dump(mode='json'), ensure_ascii=False, sort_keys=True)}\n".encode()


def _described(problem: ErrorDetails, where: str) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    shown = repr(problem["input"])
    value = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return f"{where}: {f'{key}: ' if key else ''}{problem['msg']}, found {value}"
