"""The Open Inference Protocol: health, metadata and inference. Models are domains, versions hashes of bundles."""

from importlib.metadata import version

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.bodies import shown
from fmalloc_runtime.api.inference_fields import (
    DIALECT,
    InferAnswer,
    InferFields,
    Live,
    Model,
    ModelReady,
    OutputTensor,
    Ready,
    Server,
    Tensor,
)
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.bundle import Bundle
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.service import Job
from fmalloc_runtime.text.job import TextOptions

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
        job = Job(tuple(tensor.data), domain, options=TextOptions(search=self._backend.search()))
        found = await self._backend.translate(request, job)
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
