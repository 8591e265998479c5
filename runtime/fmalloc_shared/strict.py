"""JSON records that are read strictly and written deterministically."""

import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from fmalloc_shared.errors import FmallocError


class StrictModel(BaseModel):
    """A frozen record: unknown keys, missing keys and wrong types are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Read one JSON object; FmallocError names `where`, the key, the value and what was expected."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise FmallocError("\n".join(_problems(error, where))) from error

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
        text = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=2, sort_keys=True)
        return f"{text}\n".encode()

    def to_line(self) -> bytes:
        """One line of a JSON-lines file, keys sorted."""
        return f"{json.dumps(self.model_dump(mode='json'), ensure_ascii=False, sort_keys=True)}\n".encode()


def _problems(error: ValidationError, where: str) -> list[str]:
    problems = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        shown = repr(problem["input"])
        value = shown if len(shown) <= 80 else f"{shown[:77]}..."
        problems.append(f"{where}: {f'{key}: ' if key else ''}{problem['msg']}, found {value}")
    return problems
