"""What writes a model for an engine, and the engines that there are."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.vocabulary import Vocabulary
from fmalloc_export.emit.problem import Outputs, Problem

# Imported when asked for: each needs libraries of its own.
ENGINES: Mapping[str, str] = {"ctranslate2": "fmalloc_export.emit.ctranslate2", "onnx": "fmalloc_export.emit.onnx"}


class Emitter(Protocol):
    """A module that emits for one engine."""

    NAME: str
    MINIMUM_VERSION: str
    QUANTIZATIONS: tuple[str, ...]

    def emit(self, domain: Domain, model: DomainModel, directory: Path, quantization: str) -> None:
        """Write what the passes made of `domain` into the existing, empty `directory`.

        `model` gives the feed-forward cells and the target tokens, the domain's base, which stays as it was, all else.
        Equal inputs give equal bytes. FmallocError if the engine cannot take the model.
        """

    def outputs(self, directory: Path, problem: Problem, vocabulary: Vocabulary, beam_size: int) -> Outputs:
        """What the float32 model in `directory` makes of the problem, greedy and with beam search."""


def emitter_of(engine: str) -> Emitter:
    """The emitter for an engine of ENGINES."""
    return cast(Emitter, import_module(ENGINES[engine]))
