"""The Open Inference Protocol: health, metadata and inference. A model is a domain, a version a bundle's hash."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import Dialect, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.bodies import shown
from fmalloc_runtime.api.fields import LIMIT, TEXTS_LIMIT, Fields, String
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.batching.service import TranslationRequest
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared import __version__

DIALECT = Dialect("Open Inference Protocol")
_INPUT, _OUTPUT = "text", "translation"


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
    """Bundles are served."""

    ready: bool


class ModelReady(BaseModel):
    """A domain is served; its model is loaded on demand."""

    name: str
    ready: bool


class Model(BaseModel):
    """A domain; its only version is the hash of the live bundle."""

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
    data: Annotated[list[Annotated[String, Field(json_schema_extra={LIMIT: "text_limit"})]], FailFast()] = Field(
        max_length=TEXTS_LIMIT
    )


class OutputName(BaseModel):
    """An output that is asked for."""

    name: Literal["translation"]


class InferFields(Fields):
    """One tensor of texts."""

    id: String | None = None
    inputs: list[InputTensor] = Field(min_length=1, max_length=1, description="a list of one tensor, text")
    outputs: list[OutputName] | None = Field(None, max_length=1)
    parameters: dict[str, object] | None = Field(None, description="ignored")


class OutputTensor(Tensor):
    """The translations, in the order of the texts."""

    data: list[str]


class InferAnswer(BaseModel):
    """Translations, and the version of the model that made them; `id` if one was sent."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[OutputTensor]


@dataclass(frozen=True)
class Inference:
    """The handlers of this dialect."""

    backend: Backend

    @property
    def operations(self) -> list[Operation]:
        """All operations, with and without a model's version."""
        found = [
            Operation("GET", "/v2", "The server", self.server, DIALECT, None, Server),
            Operation("GET", "/v2/health/live", "Alive", self.live, DIALECT, None, Live),
            Operation("GET", "/v2/health/ready", "Ready to translate", self.ready, DIALECT, None, Ready),
        ]
        for path, which in (("/v2/models/{model}", ""), ("/v2/models/{model}/versions/{version}", ", by version")):
            ready, infer = f"A domain is served{which}", f"Translate with a domain{which}"
            found += [
                Operation("GET", path, f"A domain{which}", self.model, DIALECT, None, Model, {403, 404}),
                Operation("GET", f"{path}/ready", ready, self.model_ready, DIALECT, None, ModelReady, {404}),
                Operation("POST", f"{path}/infer", infer, self.infer, DIALECT, InferFields, InferAnswer, {404, 456}),
            ]
        return found

    async def server(self, _request: Request) -> Response:
        """Name and version."""
        return answer(Server(name="fmalloc", version=__version__, extensions=[]))

    async def live(self, _request: Request) -> Response:
        """The process answers."""
        return answer(Live(live=True))

    async def ready(self, _request: Request) -> Response:
        """503 until bundles are served."""
        self.backend.service.registry.snapshot()
        return answer(Ready(ready=True))

    async def model(self, request: Request) -> Response:
        """Inputs and outputs of a domain."""
        self.backend.check_may_see(request, "models")
        bundle = self._bundle(request)
        engine = bundle.manifest.engine
        return answer(
            Model(
                name=bundle.manifest.domain,
                versions=[_version(bundle.name)],
                platform=f"{engine.name}_{engine.quantization}",
                inputs=[Tensor(name=_INPUT, datatype="BYTES", shape=[-1])],
                outputs=[Tensor(name=_OUTPUT, datatype="BYTES", shape=[-1])],
            )
        )

    async def model_ready(self, request: Request) -> Response:
        """Whether a domain is served."""
        return answer(ModelReady(name=self._bundle(request).manifest.domain, ready=True))

    async def infer(self, request: Request) -> Response:
        """Translate texts with the model of one domain."""
        wanted = await self.backend.read(request, InferFields, forms=False)
        domain = self._bundle(request).manifest.domain
        (tensor,) = wanted.inputs
        if tensor.shape not in ([len(tensor.data)], [len(tensor.data), 1]):
            expected = f"[{len(tensor.data)}] or [{len(tensor.data)}, 1] for as many strings in data"
            raise BadRequestError(f"inputs[1].shape is {shown(tensor.shape)}: expected {expected}")
        translation = TranslationRequest(tuple(tensor.data), domain, options=TextOptions(search=self.backend.search()))
        found = await self.backend.translate(request, translation)
        texts = [translation.text for translation in found.translations]
        output = OutputTensor(name=_OUTPUT, datatype="BYTES", shape=tensor.shape, data=texts)
        content = InferAnswer(model_name=domain, model_version=_version(found.route.bundle), outputs=[output])
        return answer(content if wanted.id is None else content.model_copy(update={"id": wanted.id}))

    def _bundle(self, request: Request) -> Bundle:
        """The live bundle that the path names; 404 if it names another."""
        bundles = self.backend.service.registry.snapshot().bundles
        model, wanted = request.path_params["model"], request.path_params.get("version")
        if model not in bundles:
            sees = self.backend.may_see(request, "models")
            known = f": use one of {', '.join(sorted(bundles))}" if sees else ""
            raise HTTPException(404, f"model {model[:80]!r} is not served{known}")
        bundle = bundles[model]
        if wanted not in (None, _version(bundle.name)):
            live = f": {_version(bundle.name)} is live" if self.backend.may_see(request, "models") else ""
            raise HTTPException(404, f"{model} has no version {wanted[:80]!r}{live}")
        return bundle


def _version(bundle: str) -> str:
    return bundle.rpartition("@")[2]
