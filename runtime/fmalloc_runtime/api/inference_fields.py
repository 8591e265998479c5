"""What clients of the Open Inference Protocol send and are answered."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fmalloc_runtime.api.answers import Dialect
from fmalloc_runtime.api.fields import LIMIT, TEXTS_LIMIT, Fields, String

DIALECT = Dialect("Open Inference Protocol")


class Tensor(BaseModel):
    """A tensor's name, type and shape; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class Server(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """Something is served."""

    ready: bool


class ModelReady(BaseModel):
    """A domain is served; one that was unloaded is loaded when it is needed."""

    name: str
    ready: bool


class Model(BaseModel):
    """A domain; its one version is the hash of the bundle that is live."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class InputTensor(BaseModel):
    """The texts, as a flat list."""

    model_config = ConfigDict(frozen=True)

    name: Literal["text"]
    datatype: Literal["BYTES"]
    shape: list[int] = Field(min_length=1, max_length=2, description="[n] or [n, 1]")
    data: list[Annotated[String, Field(json_schema_extra={LIMIT: "text_limit"})]] = Field(max_length=TEXTS_LIMIT)


class OutputName(BaseModel):
    """An output that is wanted."""

    name: Literal["translation"]


class InferFields(Fields):
    """One tensor of texts."""

    id: String | None = None
    inputs: list[InputTensor] = Field(min_length=1, max_length=1, description="a list of one tensor, text")
    outputs: list[OutputName] | None = Field(None, max_length=1)
    parameters: dict[str, object] | None = Field(None, description="none is known; they are ignored")


class OutputTensor(Tensor):
    """The translations, in the order of the texts."""

    data: list[str]


class InferAnswer(BaseModel):
    """Translations, and the version of the model that made them; `id` where one was sent."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[OutputTensor]
