"""Requests to Triton and its answers: texts as BYTES, options as parameters."""

import json
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError

from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.routing.router import AUTO
from fmalloc_runtime.text.translation import Format, Splitting, TextOptions
from fmalloc_shared.strict import StrictModel

TEXT = "TEXT"
TRANSLATION = "TRANSLATION"
BUNDLE = "BUNDLE"
DOMAIN = "DOMAIN"
_BEAM_LIMIT = 8
# Triton's module, which exists only inside its Python backend.
_BACKEND = "triton_python_backend_utils"


class Parameters(StrictModel):
    """The parameters of a request, as for /v1/translate; `domain` is for the routing model."""

    model_config = ConfigDict(strict=False)

    domain: str = AUTO
    format: Format = "text"
    split: Splitting = "sentences"
    protect: bool = True
    beam_size: Annotated[int, Field(ge=1, le=_BEAM_LIMIT)] | None = None
    max_length: Annotated[int, Field(ge=1)] | None = None
    ignore_tags: str = ""

    @property
    def options(self) -> TextOptions:
        """How the texts are read and translated."""
        return TextOptions(
            format=self.format,
            splitting=self.split,
            protect=self.protect,
            ignore_tags=frozenset(filter(None, (tag.strip() for tag in self.ignore_tags.split(",")))),
            search=TranslationOptions(self.beam_size, self.max_length),
        )


def backend() -> Any:
    """Triton's utilities for Python models."""
    return import_module(_BACKEND)


def parameters_of(request: Any) -> Parameters:
    """The parameters of an inference request; BadRequestError names each wrong one."""
    given = json.loads(request.parameters() or "{}")
    try:
        return Parameters.model_validate(given)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)]
        raise BadRequestError(f"parameters: {'; '.join(problems)}") from error


def texts_of(request: Any) -> tuple[str, ...]:
    """The texts of an inference request, BYTES of shape (texts, 1); BadRequestError if one is not UTF-8."""
    tensor = backend().get_input_tensor_by_name(request, TEXT)
    texts = []
    for number, data in enumerate(tensor.as_numpy().reshape(-1), start=1):
        try:
            texts.append(data.decode())
        except UnicodeDecodeError as error:
            raise BadRequestError(f"{TEXT}[{number}]: byte {error.start} is not UTF-8") from error
    return tuple(texts)


def strings(name: str, values: Iterable[str]) -> Any:
    """A BYTES tensor of shape (values, 1)."""
    column = np.array([value.encode() for value in values], dtype=np.object_).reshape(-1, 1)
    return backend().Tensor(name, column)


def refusal(error: Exception, kind: Literal["INVALID_ARG", "INTERNAL"]) -> Any:
    """The error answer to a request."""
    utilities = backend()
    return utilities.InferenceResponse(error=utilities.TritonError(str(error), getattr(utilities.TritonError, kind)))
