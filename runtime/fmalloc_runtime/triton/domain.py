"""The Triton model of one domain."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.errors import RequestError
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.text.translation import TextTranslation
from fmalloc_runtime.triton.documents import Request, translate_together
from fmalloc_runtime.triton.tensors import BUNDLE, TRANSLATION, backend, parameters_of, refusal, strings, texts_of
from fmalloc_shared.errors import FmallocError

_DEVICES = {"CPU": "cpu", "GPU": "cuda"}
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class TritonDomain:
    """Translates with the bundle beside the model's file. Implements Triton's interface TritonPythonModel."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the bundle and replay its golden translations; FmallocError if it is damaged or they differ."""
        kind = args["model_instance_kind"]
        if kind == "GPU":
            _see_only(int(args["model_instance_device_id"]))
        folder = Path(args["model_repository"]) / args["model_version"]
        (path,) = folder.glob("*@*")
        parameters = json.loads(args["model_config"]).get("parameters", {})
        threads = int(parameters.get("threads", {}).get("string_value", "1"))
        self._translator = Translator.load(
            Bundle.open(path), EngineSettings(_DEVICES.get(kind, "auto"), intra_threads=threads)
        )
        self._translator.replay_golden()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer a batch of requests, each with its own answer or error."""
        answers: list[Any] = [None] * len(requests)
        readable: dict[int, Request] = {}
        for index, request in enumerate(requests):
            try:
                readable[index] = Request(texts_of(request), parameters_of(request).options)
            except RequestError as error:
                answers[index] = refusal(error, "INVALID_ARG")
        found = translate_together(self._translator, list(readable.values()))
        for index, outcome in zip(readable, found, strict=True):
            answers[index] = self._answer(outcome)
        return answers

    def _answer(self, outcome: list[TextTranslation] | FmallocError) -> Any:
        if isinstance(outcome, FmallocError):
            return refusal(outcome, "INVALID_ARG" if isinstance(outcome, RequestError) else "INTERNAL")
        name = self._translator.bundle.name
        tensors = [strings(TRANSLATION, (item.text for item in outcome)), strings(BUNDLE, (name for _ in outcome))]
        return backend().InferenceResponse(output_tensors=tensors)


def _see_only(device: int) -> None:
    """Hide other GPUs from the engine, which uses the first one it sees; each instance is a separate process."""
    visible = os.environ.get(_VISIBLE)
    os.environ[_VISIBLE] = visible.split(",")[device] if visible else str(device)
