"""The model that routes each request's texts to the model of their domain."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmalloc_runtime.bundle.bundle import ROUTING_FILE, Bundle, LiveIndex
from fmalloc_runtime.errors import RequestError
from fmalloc_runtime.routing.costs import RoutingCosts
from fmalloc_runtime.routing.router import Router
from fmalloc_runtime.text.pipeline import plain_lines
from fmalloc_runtime.triton.tensors import (
    BUNDLE,
    DOMAIN,
    TEXT,
    TRANSLATION,
    backend,
    parameters_of,
    refusal,
    strings,
    texts_of,
)
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256


class RoutingModel:
    """Routes by the n-gram counts beside the model's file, and calls the domains' models through Triton.

    Implements Triton's interface TritonPythonModel. It holds no weights.
    """

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read the counts; FmallocError unless they match the bundles' manifests."""
        self._router = read_router(Path(args["model_repository"]) / args["model_version"])

    async def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer a batch of requests concurrently."""
        return list(await asyncio.gather(*(self._answer(request) for request in requests)))

    async def _answer(self, request: Any) -> Any:
        try:
            texts, parameters = texts_of(request), parameters_of(request)
            route = self._router.route(plain_lines(texts, parameters.options), parameters.domain)
        except RequestError as error:
            return refusal(error, "INVALID_ARG")
        utilities = backend()
        passed = utilities.InferenceRequest(
            model_name=route.domain,
            inputs=[strings(TEXT, texts)],
            requested_output_names=[TRANSLATION, BUNDLE],
            parameters=parameters.model_dump(exclude={"domain"}, exclude_none=True),
        )
        answer = await passed.async_exec()
        if answer.has_error():
            return utilities.InferenceResponse(error=answer.error())
        translations = utilities.get_output_tensor_by_name(answer, TRANSLATION).as_numpy()
        (bundle, *_) = utilities.get_output_tensor_by_name(answer, BUNDLE).as_numpy().reshape(-1)
        domain = json.dumps(
            {
                "name": route.domain,
                "score": route.score,
                "scores": dict(route.scores),
                "reason": route.reason,
                "bundle": bundle.decode(),
            }
        )
        tensors = [utilities.Tensor(TRANSLATION, translations), strings(DOMAIN, (domain for _ in texts))]
        return utilities.InferenceResponse(output_tensors=tensors)


def read_router(folder: Path) -> Router:
    """The router over the bundles of `folder`/live.json; it needs only their manifests and n-gram counts.

    Raises FmallocError if a file is missing or does not match its manifest.
    """
    index = LiveIndex.of(folder)
    counts = {}
    for domain, name in index.domains.items():
        bundle = Bundle.read(folder / name)
        path = bundle.path / ROUTING_FILE
        if (found := sha256(path)) != (expected := bundle.manifest.files[ROUTING_FILE]):
            raise FmallocError(f"{path}: sha256 is {found}, expected {expected}")
        counts[domain] = bundle.routing()
    return Router.of(counts, index.domains, RoutingCosts.of(folder))
