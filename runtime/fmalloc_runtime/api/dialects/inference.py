"""The Open Inference Protocol: health, metadata and inference. Models are domains, versions hashes of bundles."""

from importlib.metadata import version
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
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


_INPUT, _OUTPUT = "text", "translation"
_NOT_FOUND = frozenset({404})


class Inference:
    """Its handlers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def operations(self) -> list[Operation]:
        """What it serves, with and without the version of a model."""
        found = [
            Operation("GET", "/v2", "The server", self.server, DIALECT, response=Server),
            Operation("GET", "/v2/health/live", "Alive", self.live, DIALECT, response=Live),
            Operation("GET", "/v2/health/ready", "Ready to translate", self.ready, DIALECT, response=Ready),
        ]
        for path, which in (("/v2/models/{model}", ""), ("/v2/models/{model}/versions/{version}", ", by version")):
            found += [
                Operation("GET", path, f"A domain{which}", self.model, DIALECT, response=Model, statuses=_NOT_FOUND),
                Operation(
                    "GET",
                    f"{path}/ready",
                    f"A domain is served{which}",
                    self.model_ready,
                    DIALECT,
                    response=ModelReady,
                    statuses=_NOT_FOUND,
                ),
                Operation(
                    "POST",
                    f"{path}/infer",
                    f"Translate with a domain{which}",
                    self.infer,
                    DIALECT,
                    InferFields,
                    InferAnswer,
                    keyed=True,
                    statuses=_NOT_FOUND | {456},
                ),
            ]
        return found

    async def server(self, _request: Request) -> Response:
        """Name and version."""
        return answer(Server(name="fmalloc", version=version("fmalloc"), extensions=[]))

    async def live(self, _request: Request) -> Response:
        """The process answers."""
        return answer(Live(live=True))

    async def ready(self, _request: Request) -> Response:
        """503 until something is served."""
        self._backend.service.registry.snapshot()
        return answer(Ready(ready=True))

    async def model(self, request: Request) -> Response:
        """What a domain takes and gives."""
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
        wanted = await self._backend.read(request, InferFields, forms=False)
        domain = self._bundle(request).manifest.domain
        (tensor,) = wanted.inputs
        if tensor.shape not in ([len(tensor.data)], [len(tensor.data), 1]):
            expected = f"[{len(tensor.data)}] or [{len(tensor.data)}, 1] for as many strings in data"
            raise BadRequestError(f"inputs[1].shape is {shown(tensor.shape)}: expected {expected}")
        translation = TranslationRequest(tuple(tensor.data), domain, options=TextOptions(search=self._backend.search()))
        found = await self._backend.translate(request, translation)
        texts = [translation.text for translation in found.translations]
        output = OutputTensor(name=_OUTPUT, datatype="BYTES", shape=tensor.shape, data=texts)
        content = InferAnswer(model_name=domain, model_version=_version(found.route.bundle), outputs=[output])
        return answer(content if wanted.id is None else content.model_copy(update={"id": wanted.id}))

    def _bundle(self, request: Request) -> Bundle:
        """The live bundle that the path names; 404 if there is none."""
        bundles = self._backend.service.registry.snapshot().bundles
        model, wanted = request.path_params["model"], request.path_params.get("version")
        if model not in bundles:
            raise HTTPException(404, f"model {model[:80]!r} is not served: use one of {', '.join(sorted(bundles))}")
        bundle = bundles[model]
        if wanted not in (None, _version(bundle.name)):
            raise HTTPException(404, f"{model} has no version {wanted[:80]!r}: {_version(bundle.name)} is live")
        return bundle


def _version(bundle: str) -> str:
    return bundle.rpartition("@")[2]
