"""Checked fields of requests: an error names the field, the value and what is expected."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from fmalloc_runtime.api.bodies import Sent, shown
from fmalloc_runtime.errors import BadRequestError, BodyTooLargeError

# Texts per request: each costs memory far beyond its characters.
TEXTS_LIMIT = 10_000
_TAGS_LIMIT = 1_000
# Wrong fields that an error names.
_PROBLEMS = 5
_FLAGS = {"0": False, "1": True, "false": False, "true": True}
# In a schema: the setting that limits the property, as its `maximum`, or `maxLength` for strings.
LIMIT = "x-limit"
# In a schema: which of the values served now are the property's `enum`.
SERVED = "x-served"


class Fields(BaseModel):
    """The fields of a request. JSON must have the types of the model; text of forms is converted.

    Fields in `several` may be repeated in a form. A blank optional field of a form counts as missing. `key`: the field
    that may hold the client's key.
    """

    model_config = ConfigDict(frozen=True)
    several: ClassVar[frozenset[str]] = frozenset()
    key: ClassVar[str | None] = None

    @classmethod
    def of(cls, sent: Sent) -> Self:
        """Check what a client sent; BadRequestError names the first few wrong fields."""
        values = cls._single(sent.values) if sent.is_form else sent.values
        if cls.model_config.get("extra") == "forbid" and (unknown := sorted(values.keys() - cls.model_fields.keys())):
            raise BadRequestError(f"{shown(unknown[0])} is not a field: expected one of {', '.join(cls.model_fields)}")
        try:
            return cls.model_validate(values, strict=not sent.is_form)
        except ValidationError as error:
            problems = error.errors(include_url=False)
            named = [cls._problem(problem) for problem in problems[:_PROBLEMS]]
            more = len(problems) - len(named)
            raise BadRequestError("; ".join([*named, f"and {more} more problems"] if more else named)) from error

    @classmethod
    def _single(cls, values: Mapping[str, list[str]]) -> dict[str, Any]:
        """A form's values; repeated ones stay lists."""
        found: dict[str, Any] = {}
        for name, given in values.items():
            field = cls.model_fields.get(name)
            if field is None:
                continue
            if name in cls.several:
                found[name] = given if len(given) > 1 else given[0]
            elif len(given) > 1:
                raise BadRequestError(f"{name} is given {len(given)} times: expected it once")
            elif given[0] or field.is_required():
                found[name] = given[0]
        return found

    @classmethod
    def _problem(cls, error: ErrorDetails) -> str:
        first, *rest = error["loc"] or ("the body",)
        where = "".join([str(first), *(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in rest)])
        match error["type"]:
            case "missing":
                field = cls.model_fields.get(str(first))
                return f"{where} is missing: expected {(field and field.description) or 'it'}"
            case "surrogate":
                return f"{where} holds {error['msg']}"
        return f"{where} is {shown(error['input'])}: {error['msg'].replace('Input should be', 'expected')}"


def texts_of(value: str | list[str]) -> tuple[str, ...]:
    """One text or several, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def _check_texts(value: object, info: ValidationInfo) -> str | list[str]:
    name = info.field_name or "text"
    if isinstance(value, str):
        _check_text(name, value)
        return value
    if not isinstance(value, list):
        raise BadRequestError(f"{name} is {shown(value)}: expected a string or a list of strings")
    if len(value) > TEXTS_LIMIT:
        raise BodyTooLargeError(f"{name} has {len(value)} texts, at most {TEXTS_LIMIT} are allowed per request")
    for number, text in enumerate(value, start=1):
        if not isinstance(text, str):
            raise BadRequestError(f"{name}[{number}] is {shown(text)}: expected a string")
        _check_text(f"{name}[{number}]", text)
    return value


def _check_text(name: str, text: str) -> None:
    try:
        _check_whole(text)
    except PydanticCustomError as error:
        raise BadRequestError(f"{name} holds {error}") from error


def _check_whole(text: str) -> str:
    """Refuse half a surrogate pair: JSON can hold it, but UTF-8, and so any answer or log, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"half a surrogate pair at character {error.start}"
        raise PydanticCustomError("surrogate", "{message}", {"message": message}) from error
    return text


def _split_tags(value: object, info: ValidationInfo) -> object:
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list):
        return value
    if len(parts) <= _TAGS_LIMIT and all(isinstance(part, str) for part in parts):
        parts = [tag for part in parts for item in part.split(",") if (tag := item.strip())]
    if len(parts) > _TAGS_LIMIT:
        raise BadRequestError(f"{info.field_name} has {len(parts)} tags, at most {_TAGS_LIMIT} are allowed")
    return parts


def _read_flag(value: object) -> object:
    return _FLAGS.get(value, value) if isinstance(value, str) else value


def texts_schema(most: int, least: int = 0) -> WithJsonSchema:
    """The schema of a text, or of `least` to `most` texts."""
    text = {"type": "string", LIMIT: "text_limit"}
    return WithJsonSchema({"anyOf": [text, {"type": "array", "items": text, "minItems": least, "maxItems": most}]})


_STRING = {"type": "string"}
String = Annotated[str, AfterValidator(_check_whole)]
Texts = Annotated[str | list[str], PlainValidator(_check_texts), texts_schema(TEXTS_LIMIT)]
Tags = Annotated[
    list[String] | None,
    BeforeValidator(_split_tags),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": _STRING, "maxItems": _TAGS_LIMIT}, _STRING, {"type": "null"}]}
    ),
]
Flag = Annotated[
    bool | None,
    BeforeValidator(_read_flag),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": list(_FLAGS)}, {"type": "null"}]}),
]
